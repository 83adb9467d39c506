//! Bytes as hexadecimal text: lower case out, either case in.

/// `bytes` in lower-case hex.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The 32 bytes that exactly 64 hex digits name.
#[must_use]
pub fn decode_32(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_in_lower_case_out() {
        let text = "00ff10a5".repeat(8);
        let bytes = decode_32(&text).expect("64 digits");
        assert_eq!(decode_32(&text.to_uppercase()), Some(bytes));
        assert_eq!(encode(&bytes), text);
    }

    #[test]
    fn anything_but_sixty_four_digits_is_refused() {
        for bad in ["", "0", &"0".repeat(63), &"0".repeat(65), &"g0".repeat(32), &"é0".repeat(21)]
        {
            assert_eq!(decode_32(bad), None, "{bad}");
        }
    }
}
