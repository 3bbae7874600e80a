//! `validate DIRECTORY`: reads the image layout and the pod of an exported jail strictly.

use std::error::Error;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, OciLayout};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).ok_or("name a directory")?;
    let directory = Path::new(&directory);
    let layout = directory.join("oci");
    let _: OciLayout = strict(&fs::read(layout.join("oci-layout"))?)?;
    let index: ImageIndex = strict(&fs::read(layout.join("index.json"))?)?;
    for image in index.manifests() {
        let manifest: ImageManifest = strict(&blob(&layout, image)?)?;
        let config: ImageConfiguration = strict(&blob(&layout, manifest.config())?)?;
        let layers: Vec<String> = manifest.layers().iter().map(|layer| layer.digest().to_string()).collect();
        for layer in manifest.layers() {
            blob(&layout, layer)?;
        }
        // Uncompressed, a layer and its contents have the same digest.
        if *config.rootfs().diff_ids() != layers {
            return Err(format!("the layers are {layers:?}, the configuration says others").into());
        }
    }
    let pod: Pod = strict(&fs::read(directory.join("pod.json"))?)?;
    println!(
        "{} images and a pod of {} containers are well-formed",
        index.manifests().len(),
        containers(&pod)
    );
    Ok(())
}

/// Reads a value, and finds nothing in the text that the type does not know.
fn strict<T: DeserializeOwned + Serialize>(text: &[u8]) -> Result<T> {
    let all: Value = serde_json::from_slice(text)?;
    let value: T = serde_json::from_slice(text)?;
    let known = serde_json::to_value(&value)?;
    if known != all {
        return Err(format!("{}: read {known:#}\nof {all:#}", std::any::type_name::<T>()).into());
    }
    Ok(value)
}

/// A blob that is what its descriptor says.
fn blob(layout: &Path, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = descriptor.digest().digest();
    let bytes = fs::read(layout.join("blobs/sha256").join(digest))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != digest || bytes.len() as u64 != descriptor.size() {
        return Err(format!("blob {digest} has the digest {found} and {} bytes", bytes.len()).into());
    }
    Ok(bytes)
}

fn containers(pod: &Pod) -> usize {
    let spec = pod.spec.as_ref();
    spec.map_or(0, |spec| spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len))
}
