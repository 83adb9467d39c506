//! Checking an archive: its seal, its files, and each chain from the first link to the last.
//!
//! Invariant: memory stays flat, and one bit that is not as it was written is found.

use super::archive::{FORMAT, MANIFEST, SEAL, hash_until};
use super::rows::placed;
use crate::cli::print;
use crate::domain::hex;
use crate::store::{Chain, Link, Noted};
use anyhow::{Context as _, bail, ensure};
use ring::digest::{Context, SHA256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Lines, Read, Seek as _, SeekFrom, Take};
use std::iter::Peekable;
use std::path::Path;

/// The seal's content with its padding, and the two empty blocks.
const END: usize = 512 + 1_024;

/// Where a file of the archive lies.
struct Part {
    offset: u64,
    size: u64,
    sha256: String,
}

/// Checks the archive, and prints what holds.
pub(super) fn run(file: &Path, heads: Option<&str>) -> anyhow::Result<()> {
    check_seal(file)?;
    let parts = parts(file)?;
    let manifest = manifest(file, &parts)?;
    let mut noted = Noted::default();
    if let Some(line) = heads {
        // A line of JSON, as the journal has it, goes on behind the text.
        let line = line.find("chain heads: ").map_or(line, |at| &line[at..]);
        let line = line.split('"').next().unwrap_or(line);
        ensure!(noted.note(line), "--heads takes a whole line `chain heads: …` of the journal");
    }
    for line in lines(file, &parts, &format!("{}.jsonl", Chain::Events.as_str()))? {
        if let Some(row) = placed(Chain::Events, &line?) {
            noted.note(&row.detail);
        }
    }
    for chain in Chain::ALL {
        let ends = &manifest["chains"][chain.as_str()];
        let (anchor, head) = (link(&ends["anchor"])?, link(&ends["head"])?);
        let walked = walk(file, &parts, chain, anchor, head, &noted)
            .with_context(|| format!("the chain of {}", chain.as_str()))?;
        print::line(&format!(
            "{}: {walked} rows, {} in full; every link holds up to {} {}",
            chain.as_str(),
            ends["full"],
            head.id,
            hex::encode(&head.hash)
        ))?;
    }
    print::line(&format!("made at {}; the archive is as it was written", manifest["made_at"]))
}

/// The last entry holds the hash of all before it, and nothing but emptiness stands behind.
fn check_seal(file: &Path) -> anyhow::Result<()> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let before = length.checked_sub(END as u64).context("too short to be an archive")?;
    let expected = hex::encode(&hash_until(&mut file, before)?);
    let mut end = [0; END];
    file.read_exact(&mut end)?;
    let sealed = end.starts_with(expected.as_bytes())
        && end[64] == b'\n'
        && end[65..].iter().all(|byte| *byte == 0);
    ensure!(sealed, "changed after it was written, or cut off: its seal does not hold");
    Ok(())
}

fn parts(file: &Path) -> anyhow::Result<BTreeMap<String, Part>> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(file)?));
    let mut parts = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            context.update(&buffer[..read]);
        }
        let sha256 = hex::encode(context.finish().as_ref());
        let twice = parts.insert(name.clone(), Part { offset, size, sha256 });
        ensure!(twice.is_none(), "{name} is in it twice");
    }
    Ok(parts)
}

/// Reads the manifest, and holds the files against it.
fn manifest(file: &Path, parts: &BTreeMap<String, Part>) -> anyhow::Result<Value> {
    let mut text = String::new();
    open(file, parts, MANIFEST)?.read_to_string(&mut text)?;
    let manifest: Value = serde_json::from_str(&text)?;
    ensure!(manifest["format"] == FORMAT, "of another format: take the version that wrote it");
    let listed = manifest["files"].as_array().context("the manifest lists no files")?;
    for listed in listed {
        let name = listed["name"].as_str().context("a file without a name")?;
        let part = parts.get(name).with_context(|| format!("{name} is missing"))?;
        let same = listed["size"] == part.size && listed["sha256"] == part.sha256.as_str();
        ensure!(same, "{name} is not the file that the manifest tells of");
    }
    ensure!(parts.len() == listed.len() + 2, "there is a file that the manifest does not tell of");
    ensure!(parts.contains_key(SEAL), "the seal is missing");
    Ok(manifest)
}

/// Merges full rows and digests by their ids, and follows the links.
fn walk(
    file: &Path,
    parts: &BTreeMap<String, Part>,
    chain: Chain,
    anchor: Link,
    head: Link,
    noted: &Noted,
) -> anyhow::Result<u64> {
    let full = lines(file, parts, &format!("{}.jsonl", chain.as_str()))?;
    let others = lines(file, parts, &format!("digests/{}.txt", chain.as_str()))?;
    let row = |line: io::Result<String>| {
        placed(chain, &line?)
            .context("a line of it is no row")
            .map(|row| (row.id, Some(row.hash), row))
    };
    let mut full =
        full.map(|line| row(line).map(|(id, hash, row)| (id, row.digest, hash))).peekable();
    let mut others =
        others.map(|line| digest_line(&line?).context("a line of it is no digest")).peekable();
    ensure!(noted.allow_anchor(chain, anchor), "it begins elsewhere than was noted");
    let is_late = chain == Chain::Events && anchor != Link::GENESIS;
    ensure!(!is_late, "the oldest events are missing, and none is ever forgotten");
    let (mut link, mut walked) = (anchor, 0);
    while let Some(next) = next_of(&mut full, &mut others) {
        let (id, digest, hash) = next?;
        let next = link.then(id, &digest);
        let in_order = id > link.id && (chain != Chain::Events || id == link.id + 1);
        ensure!(in_order, "row {id} is out of order, or one before it is missing");
        ensure!(hash.is_none_or(|hash| hash == next.hash), "row {id} is not as it was written");
        ensure!(noted.allow(chain, link.id, next), "row {id} is not on the way to a noted head");
        link = next;
        walked += 1;
    }
    ensure!(link == head, "it ends at row {}, not at {}", link.id, head.id);
    ensure!(noted.allow_end(chain, head), "it ends before a head that was noted");
    Ok(walked)
}

type Step = anyhow::Result<(i64, [u8; 32], Option<[u8; 32]>)>;

/// The one with the smaller id.
fn next_of<A, B>(full: &mut Peekable<A>, others: &mut Peekable<B>) -> Option<Step>
where
    A: Iterator<Item = Step>,
    B: Iterator<Item = Step>,
{
    let id = |step: Option<&Step>| match step {
        None => i64::MAX,
        Some(Ok((id, ..))) => *id,
        Some(Err(_)) => i64::MIN,
    };
    if id(full.peek()) <= id(others.peek()) {
        full.next().or_else(|| others.next())
    } else {
        others.next()
    }
}

fn digest_line(line: &str) -> Option<(i64, [u8; 32], Option<[u8; 32]>)> {
    let (id, digest) = line.split_once(' ')?;
    Some((id.parse().ok()?, hex::decode_32(digest)?, None))
}

fn lines(
    file: &Path,
    parts: &BTreeMap<String, Part>,
    name: &str,
) -> anyhow::Result<Lines<BufReader<Take<File>>>> {
    Ok(BufReader::with_capacity(64 << 10, open(file, parts, name)?).lines())
}

fn open(file: &Path, parts: &BTreeMap<String, Part>, name: &str) -> anyhow::Result<Take<File>> {
    let Some(part) = parts.get(name) else { bail!("{name} is missing") };
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(part.offset))?;
    Ok(file.take(part.size))
}

fn link(end: &Value) -> anyhow::Result<Link> {
    let id = end["id"].as_i64();
    let hash = end["hash"].as_str().and_then(hex::decode_32);
    let link = id.zip(hash).map(|(id, hash)| Link { id, hash });
    link.context("the manifest does not tell where a chain begins and ends")
}
