//! Writing an archive: a plain tar, row by row, sealed by the hash of everything before.
//!
//! Invariant: it is written under another name and moved to its own when it is whole and on disk.

use super::rows;
use crate::domain::hex;
use crate::domain::time::Timestamp;
use crate::store::chain::heads_of;
use crate::store::{Chain, Link, ReadOnly, Selection, Snapshot};
use anyhow::{Context as _, bail};
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tar::{Builder, EntryType, Header};

/// The form that the manifest tells of.
pub(super) const FORMAT: u64 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
/// The last entry: SHA-256 of every byte before its own content.
pub(super) const SEAL: &str = "archive.sha256";
const README: &str = include_str!("README.txt");

/// Writes the archive. Returns what is in it, for people.
pub(super) fn write(
    database: &ReadOnly,
    selection: &Selection,
    file: &Path,
    force: bool,
    made_at: Timestamp,
    stop: &AtomicBool,
) -> anyhow::Result<String> {
    if !force && file.exists() {
        bail!("{} exists: name another file, or add --force", file.display());
    }
    let partial = Partial::create(file)?;
    let mut archive =
        Archive { tar: Builder::new(partial.open()?), files: Vec::new(), made_at, stop };
    archive.file("README.txt", |out| Ok(out.write_all(README.as_bytes())?))?;
    let (chains, told) = database.read(|snapshot| archive.rows(snapshot, selection))?;
    let manifest = json!({
        "format": FORMAT,
        "program": concat!("authcoded ", env!("CARGO_PKG_VERSION")),
        "made_at": made_at.to_string(),
        "selection": {
            "code": selection.code,
            "order_id": selection.order_id,
            "since": selection.since.map(|at| at.to_string()),
            "until": selection.until.map(|at| at.to_string()),
        },
        "chains": chains,
        "files": archive.files,
    });
    let manifest = format!("{manifest:#}\n");
    archive.file(MANIFEST, |out| Ok(out.write_all(manifest.as_bytes())?))?;
    seal(archive.tar, made_at)?;
    partial.finish(file, force)?;
    Ok(told)
}

struct Archive<'a> {
    tar: Builder<File>,
    /// Name, size and hash of each file so far.
    files: Vec<Value>,
    made_at: Timestamp,
    stop: &'a AtomicBool,
}

/// Counts and hashes what passes.
struct Hashing<W> {
    into: W,
    context: Context,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

impl Archive<'_> {
    /// A file of the archive, written by `fill`.
    fn file(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut header = header(self.made_at);
        let into = self.tar.append_writer(&mut header, name)?;
        let into = Hashing { into, context: Context::new(&SHA256), size: 0 };
        let mut out = BufWriter::with_capacity(64 << 10, into);
        fill(&mut out)?;
        let Hashing { into, context, size } =
            out.into_inner().map_err(io::IntoInnerError::into_error)?;
        into.finish()?;
        let sha256 = hex::encode(context.finish().as_ref());
        self.files.push(json!({ "name": name, "size": size, "sha256": sha256 }));
        Ok(())
    }

    fn rows(
        &mut self,
        snapshot: &Snapshot<'_>,
        selection: &Selection,
    ) -> anyhow::Result<(Value, String)> {
        let stop = self.stop;
        let mut told = Vec::new();
        let mut chains = serde_json::Map::new();
        for chain in Chain::ALL {
            let (mut full, mut others) = (0_u64, 0_u64);
            self.file(&format!("{}.jsonl", chain.as_str()), |out| {
                each(snapshot, chain, selection, stop, |row| {
                    if let Row::Full(line) = row {
                        full += 1;
                        writeln!(out, "{}", line()?)?;
                    }
                    Ok(())
                })
            })?;
            self.file(&format!("digests/{}.txt", chain.as_str()), |out| {
                each(snapshot, chain, selection, stop, |row| {
                    if let Row::Digest(id, digest) = row {
                        others += 1;
                        writeln!(out, "{id} {}", hex::encode(&digest()))?;
                    }
                    Ok(())
                })
            })?;
            let (anchor, head) = snapshot.chain_ends(chain)?;
            let ends = json!({ "anchor": link(anchor), "head": link(head), "full": full, "others": others });
            chains.insert(chain.as_str().to_owned(), ends);
            told.push(format!("{}: {full} in full, {others} as digests", chain.as_str()));
        }
        let mut licenses = 0_u64;
        self.file("licenses.jsonl", |out| {
            snapshot.each_license(selection, |columns| {
                go_on(stop)?;
                licenses += 1;
                Ok(writeln!(out, "{}", Value::Object(columns))?)
            })
        })?;
        told.push(format!("licences: {licenses}"));
        Ok((Value::Object(chains), told.join("\n")))
    }
}

/// A row, as the archive shows it.
enum Row<'a> {
    Full(&'a mut dyn FnMut() -> anyhow::Result<String>),
    Digest(i64, &'a dyn Fn() -> [u8; 32]),
}

fn each(
    snapshot: &Snapshot<'_>,
    chain: Chain,
    selection: &Selection,
    stop: &AtomicBool,
    mut take: impl FnMut(Row<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if chain == Chain::Events {
        return snapshot.each_event(|row| {
            go_on(stop)?;
            // Events that note heads bind the other chains, so each archive has them.
            if selection.takes_event(&row) || !heads_of(&row.detail).is_empty() {
                take(Row::Full(&mut || Ok(rows::of_event(row.clone())?)))
            } else {
                take(Row::Digest(row.id, &|| row.digest()))
            }
        });
    }
    snapshot.each_callback(chain, |row| {
        go_on(stop)?;
        if selection.takes_callback(&row) {
            take(Row::Full(&mut || Ok(rows::of_callback(row.clone())?)))
        } else {
            take(Row::Digest(row.id, &|| row.digest()))
        }
    })
}

fn go_on(stop: &AtomicBool) -> anyhow::Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("interrupted: nothing was written");
    }
    Ok(())
}

fn link(link: Link) -> Value {
    json!({ "id": link.id, "hash": hex::encode(&link.hash) })
}

fn header(made_at: Timestamp) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_mtime(made_at.as_ms().max(0).unsigned_abs() / 1_000);
    header
}

/// Adds the last entry, whose content covers every byte before it, and puts all of it on disk.
fn seal(tar: Builder<File>, made_at: Timestamp) -> anyhow::Result<()> {
    let mut file = tar.into_inner()?;
    // The two empty blocks at the end move behind the seal.
    let end = file.stream_position()?.checked_sub(1_024).context("the archive is cut off")?;
    file.set_len(end)?;
    let mut header = header(made_at);
    header.set_path(SEAL)?;
    header.set_size(65);
    header.set_cksum();
    file.seek(SeekFrom::Start(end))?;
    file.write_all(header.as_bytes())?;
    let hash = hash_until(&mut file, end + 512)?;
    let mut block = [0; 512 + 1_024];
    block[..64].copy_from_slice(hex::encode(&hash).as_bytes());
    block[64] = b'\n';
    file.write_all(&block)?;
    file.sync_all()?;
    Ok(())
}

/// SHA-256 of the first `length` bytes; the file stands behind them afterwards.
pub(super) fn hash_until(file: &mut File, length: u64) -> io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(0))?;
    let (mut context, mut left) = (Context::new(&SHA256), length);
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..wanted])?;
        context.update(&buffer[..wanted]);
        left -= wanted as u64;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

/// The archive under its other name, which goes away unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn create(file: &Path) -> anyhow::Result<Self> {
        let mut name = file.file_name().context("name a file")?.to_owned();
        name.push(".partial");
        let path = file.with_file_name(name);
        // Left behind by a run that was killed.
        drop(std::fs::remove_file(&path));
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        created.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self(path))
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.0)
    }

    fn finish(self, file: &Path, force: bool) -> anyhow::Result<()> {
        let moved = if force {
            std::fs::rename(&self.0, file)
        } else {
            // Unlike a rename, a link never replaces what has come into being meanwhile.
            std::fs::hard_link(&self.0, file)
        };
        moved.with_context(|| format!("{} cannot be written", file.display()))?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
