//! Secrets lie in files of their own, or with systemd, and come into memory here and nowhere else.
//!
//! Invariant: no value of a secret is in any error, `Debug` or `Display` of this module.

use super::{Config, Notify};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes; a key, a token or a PEM file is far below.
const LARGEST_BYTES: u64 = 64 * 1024;
/// What a path begins with that names a systemd credential.
const CREDENTIAL: &str = "credential:";

/// Where a secret lies: a path, or `credential:NAME` for one that systemd loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// A file; only its owner may read or write it.
    File(PathBuf),
    /// One that systemd loads into `$CREDENTIALS_DIRECTORY` and protects.
    Credential {
        /// Its name in the unit.
        name: String,
        /// The file of that name beside the configuration: it is meant where systemd passes no
        /// credentials, so that an operator's command line finds what the service is given.
        beside: PathBuf,
    },
}

/// Where an operator changes a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPlace {
    /// The key of the configuration that names it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// What is changed there is seen at the next start only: systemd hands a copy over then.
    pub at_start_only: bool,
}

/// All secrets of the configuration.
pub struct Secrets {
    /// The keys of callbacks, newest first; one or two.
    pub access_keys: Vec<SecretString>,
    /// The keys that callbacks were signed with before, newest first, as far as they can be read.
    pub retired_keys: Vec<SecretString>,
    /// The keys of order notifications, newest first; none where they are not wanted.
    pub order_keys: Vec<SecretString>,
    /// The access key id; may be shown by its last four characters ([`Secrets::ak_tail`]).
    pub ak: String,
    /// The secret access key.
    pub sk: SecretString,
    /// The bearer token of operators.
    pub admin_token: SecretString,
    /// The bearer token of the licensed software.
    pub software_token: SecretString,
    /// Those of the channels of `[[notify]]`, in their order.
    pub channels: Vec<ChannelSecrets>,
}

/// The secrets of a channel, as far as its kind has them.
pub struct ChannelSecrets {
    /// Its address: who knows it can speak as us.
    pub url: Option<SecretString>,
    /// What its messages are signed with.
    pub secret: Option<SecretString>,
    /// The mail server's password.
    pub password: Option<SecretString>,
}

impl ChannelSecrets {
    /// Whether nothing of it differs.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let pairs = [
            (&self.url, &other.url),
            (&self.secret, &other.secret),
            (&self.password, &other.password),
        ];
        pairs.into_iter().all(|(one, other)| text(one.as_ref()) == text(other.as_ref()))
    }
}

fn text(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(|secret| secret.expose_secret())
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets {{ ak: …{}, [redacted] }}", self.ak_tail())
    }
}

impl Secrets {
    /// The last four characters of the access key id, as it may be shown (product.md §9).
    #[must_use]
    pub fn ak_tail(&self) -> &str {
        let from = self.ak.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        &self.ak[from..]
    }
}

/// Why a secret cannot be used. Always the operator's to put right.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {kind}; {}", place.display(), kind.remedy())]
pub struct SecretError {
    /// The key of the configuration that names it.
    pub key: String,
    /// The file.
    pub place: PathBuf,
    /// What is wrong.
    pub kind: SecretErrorKind,
}

/// What can be wrong with a secret.
#[expect(missing_docs, reason = "each message says it")]
#[derive(Debug, thiserror::Error)]
pub enum SecretErrorKind {
    #[error("no such file")]
    Missing,
    #[error("cannot be read ({0})")]
    Unreadable(std::io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("is open to others than its owner (mode {0:04o})")]
    Open(u32),
    #[error("is empty")]
    Empty,
    #[error("is larger than 64 KiB")]
    TooLarge,
    #[error("holds white space or control characters within")]
    Space,
    #[error("holds characters that are not ASCII")]
    NotAscii,
    #[error("is a systemd credential that the unit does not load")]
    NotLoaded,
    #[error("is not a name of a systemd credential")]
    BadCredentialName,
}

impl SecretErrorKind {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => "create it, holding the secret on one line, and chmod 600 it",
            Self::Unreadable(_) => "let the user of the daemon own it",
            Self::NotAFile => "name a file",
            Self::Open(_) => "run chmod 600 on it",
            Self::Empty => "write the secret into it, on one line",
            Self::TooLarge => "is this the right file?",
            Self::Space => "it must hold the secret alone, on one line",
            Self::NotAscii => "write the secret again, as plain ASCII text",
            Self::NotLoaded => "add it to the unit with LoadCredential=, or name a file",
            Self::BadCredentialName => "write credential:NAME, without a slash",
        }
    }
}

impl SecretFile {
    pub(super) fn resolve(&mut self, folder: &Path) {
        match self {
            Self::File(path) => *path = folder.join(&*path),
            Self::Credential { name, beside } => *beside = folder.join(name),
        }
    }

    /// The file that an operator changes: for a credential the one beside the configuration, from which
    /// the unit loads it.
    fn origin(&self) -> &Path {
        match self {
            Self::File(path) | Self::Credential { beside: path, .. } => path,
        }
    }

    /// Reads a secret of one line: an access key, AK, SK or token.
    ///
    /// # Errors
    /// [`SecretError`] names `key`, the file, and what to do.
    pub fn read_line(&self, key: &str) -> Result<SecretString, SecretError> {
        let text = self.read(key)?;
        let line = text.expose_secret();
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let kind = if line.is_empty() {
            SecretErrorKind::Empty
        } else if line.contains(|c: char| c.is_whitespace() || c.is_control()) {
            SecretErrorKind::Space
        } else if !line.is_ascii() {
            SecretErrorKind::NotAscii
        } else {
            return Ok(SecretString::from(line));
        };
        Err(self.error(key, kind))
    }

    /// Reads a secret of any form, such as a private key in PEM.
    ///
    /// # Errors
    /// [`SecretError`] names `key`, the file, and what to do.
    pub fn read(&self, key: &str) -> Result<SecretString, SecretError> {
        let directory = credentials_directory();
        self.read_from(directory.as_deref()).map_err(|kind| self.error(key, kind))
    }

    fn read_from(&self, credentials: Option<&Path>) -> Result<SecretString, SecretErrorKind> {
        let (path, forbidden_bits) = self.path_in(credentials)?;
        let found = std::fs::metadata(&path).map_err(of_io)?;
        if !found.is_file() {
            // Also keeps a named pipe from holding us up.
            return Err(SecretErrorKind::NotAFile);
        }
        let file = std::fs::File::open(&path).map_err(of_io)?;
        let mode = file.metadata().map_err(of_io)?.permissions().mode() & 0o7777;
        if mode & forbidden_bits != 0 {
            return Err(SecretErrorKind::Open(mode));
        }
        let mut text = String::new();
        let read = file.take(LARGEST_BYTES + 1).read_to_string(&mut text);
        let secret = SecretString::from(text);
        match read {
            Err(why) if why.kind() == std::io::ErrorKind::InvalidData => {
                Err(SecretErrorKind::NotAscii)
            }
            Err(why) => Err(of_io(why)),
            Ok(_) if secret.expose_secret().len() as u64 > LARGEST_BYTES => {
                Err(SecretErrorKind::TooLarge)
            }
            Ok(_) if secret.expose_secret().is_empty() => Err(SecretErrorKind::Empty),
            Ok(_) => Ok(secret),
        }
    }

    /// The file, and the mode bits it must not have.
    fn path_in(&self, credentials: Option<&Path>) -> Result<(PathBuf, u32), SecretErrorKind> {
        match (self, credentials) {
            (Self::File(path), _) => Ok((path.clone(), 0o077)),
            (Self::Credential { name, .. }, _) if name.is_empty() || name.contains('/') => {
                Err(SecretErrorKind::BadCredentialName)
            }
            (Self::Credential { beside, .. }, None) => Ok((beside.clone(), 0o077)),
            // systemd lets the service read its credentials through the group bits of an access list.
            (Self::Credential { name, .. }, Some(folder)) if folder.join(name).exists() => {
                Ok((folder.join(name), 0o007))
            }
            (Self::Credential { .. }, Some(_)) => Err(SecretErrorKind::NotLoaded),
        }
    }

    fn error(&self, key: &str, kind: SecretErrorKind) -> SecretError {
        let place = match (self, &kind) {
            (Self::Credential { name, .. }, SecretErrorKind::NotLoaded)
            | (Self::Credential { name, .. }, SecretErrorKind::BadCredentialName) => {
                PathBuf::from(format!("{CREDENTIAL}{name}"))
            }
            (Self::File(path) | Self::Credential { beside: path, .. }, _) => path.clone(),
        };
        SecretError { key: key.to_owned(), place, kind }
    }
}

fn of_io(why: std::io::Error) -> SecretErrorKind {
    if why.kind() == std::io::ErrorKind::NotFound {
        SecretErrorKind::Missing
    } else {
        SecretErrorKind::Unreadable(why)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd tells the folder of credentials in no other way; the secrets are files in it"
)]
fn credentials_directory() -> Option<PathBuf> {
    std::env::var("CREDENTIALS_DIRECTORY").ok().map(PathBuf::from)
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential { name, .. } => write!(f, "{CREDENTIAL}{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(match text.strip_prefix(CREDENTIAL) {
            Some(name) => Self::Credential { name: name.to_owned(), beside: PathBuf::new() },
            None => Self::File(PathBuf::from(text)),
        })
    }
}

impl Config {
    /// The files that [`Config::load_secrets`] reads, but those of `[[notify]]`.
    #[must_use]
    pub fn secret_files(&self) -> Vec<SecretPlace> {
        let orders = self.orders.as_ref().map_or(&[][..], |orders| &orders.access_key_files);
        let lists = [
            ("callback.access-key-files", &self.callback.access_key_files[..]),
            ("callback.retired-access-key-files", &self.callback.retired_access_key_files),
            ("orders.access-key-files", orders),
            ("marketplace.ak-file", std::slice::from_ref(&self.marketplace.ak_file)),
            ("marketplace.sk-file", std::slice::from_ref(&self.marketplace.sk_file)),
            ("admin.token-file", std::slice::from_ref(&self.admin.token_file)),
            ("software.token-file", std::slice::from_ref(&self.software.token_file)),
        ];
        let files = lists.into_iter().flat_map(|(key, files)| files.iter().map(move |f| (key, f)));
        let handed_over = credentials_directory().is_some();
        let place = |(key, file): (&str, &SecretFile)| SecretPlace {
            key: key.to_owned(),
            path: file.origin().to_owned(),
            at_start_only: handed_over && matches!(file, SecretFile::Credential { .. }),
        };
        files.map(place).collect()
    }

    /// Reads every secret the configuration names, but the private key of the listener.
    ///
    /// # Errors
    /// [`SecretError`] for the first that cannot be used; [`Config::check`] lists all of them.
    pub fn load_secrets(&self) -> Result<Secrets, SecretError> {
        let read = |key: &str, files: &[SecretFile]| -> Result<Vec<_>, _> {
            files.iter().map(|file| file.read_line(key)).collect()
        };
        let orders = self.orders.as_ref().map_or(&[][..], |orders| &orders.access_key_files);
        // They only help to explain a refusal: one that is gone by now is no reason not to start.
        let retired = self.callback.retired_access_key_files.iter();
        Ok(Secrets {
            retired_keys: retired.filter_map(|file| file.read_line("").ok()).collect(),
            access_keys: read("callback.access-key-files", &self.callback.access_key_files)?,
            order_keys: read("orders.access-key-files", orders)?,
            ak: self.marketplace.ak_file.read_line("marketplace.ak-file")?.expose_secret().into(),
            sk: self.marketplace.sk_file.read_line("marketplace.sk-file")?,
            admin_token: self.admin.token_file.read_line("admin.token-file")?,
            software_token: self.software.token_file.read_line("software.token-file")?,
            channels: self.notify.iter().map(Notify::secrets).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_the_same_while_each_of_its_secrets_is() {
        let secret = |text: &str| Some(SecretString::from(text));
        let robot = |url, key| ChannelSecrets { url, secret: key, password: None };
        let known = robot(secret("https://a.example"), secret("key"));
        assert!(known.is_same(&robot(secret("https://a.example"), secret("key"))));
        assert!(!known.is_same(&robot(secret("https://a.example"), secret("other"))));
        assert!(!known.is_same(&robot(secret("https://a.example"), None)));
    }

    #[test]
    fn a_credential_is_taken_from_systemd_or_from_beside_the_configuration() {
        let (unit, etc) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let put = |path: PathBuf, text: &str, mode| {
            std::fs::write(&path, text).expect("write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        put(unit.path().join("sk"), "of-the-unit", 0o440);
        put(etc.path().join("sk"), "of-the-folder", 0o600);
        put(etc.path().join("ak"), "too-open", 0o640);
        let read = |name: &str, credentials: Option<&Path>| {
            let mut file = SecretFile::Credential { name: name.into(), beside: PathBuf::new() };
            file.resolve(etc.path());
            file.read_from(credentials)
                .map(|secret| secret.expose_secret().to_owned())
                .map_err(|kind| kind.to_string())
        };
        assert_eq!(read("sk", Some(unit.path())).as_deref(), Ok("of-the-unit"));
        assert_eq!(read("sk", None).as_deref(), Ok("of-the-folder"));
        assert!(read("ak", None).is_err_and(|why| why.contains("open to others")));
        assert!(read("ak", Some(unit.path())).is_err_and(|why| why.contains("does not load")));
        assert!(read("../sk", Some(unit.path())).is_err_and(|why| why.contains("not a name")));
    }
}
