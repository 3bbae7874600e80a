//! An OCI image layout: blobs by their digests, and an index of the images.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::layer::Tree;
use crate::failure::Failure;
use crate::hex;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Not compressed: what copies it to a registry compresses it.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout that is being written.
pub(super) struct Layout {
    directory: PathBuf,
    written: Cell<u32>,
}

/// A layer that is in the layout.
pub(super) type Layer = Blob;

/// A blob that is in the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// SHA-256, in hexadecimal digits.
    digest: String,
    size: u64,
}

/// What an image is made of.
pub(super) struct Image {
    pub(super) name: String,
    pub(super) layers: Vec<Layer>,
    pub(super) entrypoint: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: String,
    pub(super) user: u32,
}

/// An image that is in the layout.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: String,
    manifest: Blob,
}

impl Layout {
    /// A layout in a directory that must not exist yet.
    pub(super) fn create(directory: &Path) -> Result<Layout, Failure> {
        let layout = Layout { directory: directory.to_owned(), written: Cell::new(0) };
        if directory.exists() {
            return Err(Failure::usage(format!(
                "{} exists; name another directory with --output, or remove it",
                directory.display()
            )));
        }
        DirBuilder::new()
            .recursive(true)
            .create(layout.blobs())
            .map_err(|error| Failure::no_jail(format!("cannot make {}: {error}", directory.display())))?;
        Ok(layout)
    }

    /// Writes a layer.
    pub(super) fn layer(&self, tree: &Tree) -> Result<Layer, Failure> {
        self.blob(|blob| tree.write(blob))
    }

    /// Writes an image of layers that are written already.
    pub(super) fn image(&self, image: &Image) -> Result<Written, Failure> {
        let variables: Vec<String> =
            image.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let diff_ids: Vec<String> = image.layers.iter().map(Blob::reference).collect();
        let config = self.json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": format!("{0}:{0}", image.user),
                "Env": variables,
                "Entrypoint": image.entrypoint,
                "WorkingDir": image.directory,
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }))?;
        let layers: Vec<_> = image.layers.iter().map(|layer| layer.descriptor(LAYER)).collect();
        let manifest = self.json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers,
        }))?;
        Ok(Written { name: image.name.clone(), manifest })
    }

    /// Writes what makes it a layout.
    pub(super) fn finish(&self, images: &[&Written]) -> Result<(), Failure> {
        let manifests: Vec<_> = images
            .iter()
            .map(|image| {
                let mut descriptor = image.manifest.descriptor(MANIFEST);
                descriptor["platform"] = json!({ "architecture": architecture(), "os": "linux" });
                descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
                descriptor
            })
            .collect();
        self.file("index.json", &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))?;
        self.file("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))
    }

    fn json(&self, value: &impl Serialize) -> Result<Blob, Failure> {
        let text = serde_json::to_vec(value).map_err(Failure::no_jail)?;
        self.blob(|blob| blob.write_all(&text).map_err(Failure::no_jail))
    }

    fn file(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let text = serde_json::to_vec(value).map_err(Failure::no_jail)?;
        fs::write(&path, text).map_err(|error| unwritten(&path, &error))
    }

    /// Writes a blob, which has its name when its last byte is known.
    fn blob(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<Blob, Failure> {
        self.written.set(self.written.get() + 1);
        let fresh = self.blobs().join(format!("new-{}", self.written.get()));
        let file = File::create_new(&fresh).map_err(|error| unwritten(&fresh, &error))?;
        let mut digesting = Digesting { file: BufWriter::new(file), digest: Sha256::new(), size: 0 };
        write(&mut digesting)?;
        digesting.flush().map_err(|error| unwritten(&fresh, &error))?;
        let digest = hex::encode(&digesting.digest.finalize());
        let path = self.blobs().join(&digest);
        fs::rename(&fresh, &path).map_err(|error| unwritten(&path, &error))?;
        Ok(Blob { digest, size: digesting.size })
    }

    fn blobs(&self) -> PathBuf {
        self.directory.join("blobs/sha256")
    }
}

impl Written {
    /// A tag that says what is in it.
    pub(super) fn tag(&self) -> &str {
        self.manifest.digest.get(..12).unwrap_or(&self.manifest.digest)
    }
}

impl Blob {
    fn reference(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": self.reference(), "size": self.size })
    }
}

struct Digesting {
    file: BufWriter<File>,
    digest: Sha256,
    size: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// As Go names it, and with it OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::no_jail(format!("cannot write {}: {error}", path.display()))
}
