//! `authcoded token …`: makes the bearer tokens of the two local listeners.

use anyhow::anyhow;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::zeroize::Zeroizing;
use std::io::Write as _;
use std::process::ExitCode;

/// Random bytes of a token: more than can be guessed in any time.
const BYTES: usize = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const NEW_HELP: &str = "\
The token goes to standard output and is kept nowhere else.

Example:
  (umask 077; authcoded token new > /etc/authcoded/admin-token)";

/// What can be done with tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a new random token (43 characters)
    #[command(after_help = NEW_HELP)]
    New,
}

/// Runs it.
pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New = command;
    let token = fresh()?;
    let mut out = super::print::out();
    out.write_all(token.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A new random token and the end of its line.
pub(super) fn fresh() -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| anyhow!("the system gives no random numbers"))?;
    let token = Zeroizing::new(base64url(bytes.as_ref()));
    Ok(Zeroizing::new(format!("{}\n", token.as_str())))
}

/// Base64 for addresses (RFC 4648 §5), without padding.
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for nth in 0..=group.len() {
            let six = bits >> (18 - 6 * nth) & 63;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
