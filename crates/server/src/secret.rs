//! The secret that signs tokens: configured, or generated once and stored in the data directory.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Config;

/// Bytes of randomness in a generated secret.
const SECRET_BYTES: usize = 32;

fn path(data: &Path) -> PathBuf {
    data.join("secret")
}

/// Returns the secret, generated on first use. Only its owner may read the file.
pub fn open(config: &Config) -> anyhow::Result<String> {
    if !config.auth.hmac_secret.is_empty() {
        return Ok(config.auth.hmac_secret.clone());
    }
    let path = path(&config.server.data);
    crate::private::directory(&config.server.data)?;
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            file.write_all(secret.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            file.sync_all()?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(&path),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
}

/// Returns the secret of a server that has run before; commands beside the server never generate one.
pub fn existing(config: &Config) -> anyhow::Result<String> {
    if !config.auth.hmac_secret.is_empty() {
        return Ok(config.auth.hmac_secret.clone());
    }
    read(&path(&config.server.data))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let secret = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: has the server run with this data directory?", path.display()))?;
    let secret = secret.trim().to_owned();
    if secret.len() < 16 {
        bail!("{} holds no secret of at least 16 bytes", path.display());
    }
    Ok(secret)
}
