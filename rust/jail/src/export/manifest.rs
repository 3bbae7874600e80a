//! The pod that runs a job beside its proxy, for Kubernetes 1.29 or newer. JSON is YAML.
//!
//! One container walls the network off and ends; then the proxy starts and stays (an init container that is restarted:
//! a sidecar); when it serves, the job starts; when the job ends, so does the proxy.

use sandbox::plan::Plan;
use serde_json::{Value, json};

use super::WORKSPACE;
use super::layout::Written;
use super::secrets::{Key, Secrets};
use crate::assemble::HOME;
use crate::failure::Failure;
use crate::pod::{JOB_USER, PROGRAM, PROXY_USER, SHARED};
use crate::spec::JailSpec;

/// What the manifest is made of.
pub(super) struct Pod<'a> {
    pub(super) spec: &'a JailSpec,
    pub(super) plan: &'a Plan,
    pub(super) secrets: &'a Secrets,
    pub(super) job: &'a Written,
    pub(super) proxy: &'a Written,
    /// Where the cluster finds images.
    pub(super) repository: &'a str,
}

impl Pod<'_> {
    /// The manifest.
    pub(super) fn json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(&self.manifest()).map_err(Failure::no_jail)?;
        Ok(text + "\n")
    }

    /// Where an image is to be.
    pub(super) fn reference(&self, image: &Written) -> String {
        format!("{}/{}:{}", self.repository, object_name(&image.name), image.tag())
    }

    /// The command that makes the secret, for people to complete.
    pub(super) fn secret_command(&self) -> Option<String> {
        let variables = self.secrets.variables.values();
        let mut keys: Vec<&Key> =
            variables.chain(self.secrets.files.values().flat_map(|files| files.values())).collect();
        keys.dedup();
        let values: Vec<String> = keys.iter().map(|key| format!("--from-literal={}=…", key.name)).collect();
        (!values.is_empty())
            .then(|| format!("kubectl create secret generic {} {}", self.secret(), values.join(" ")))
    }

    fn manifest(&self) -> Value {
        let name = object_name(&self.spec.name);
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": { "app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "nix-jail" },
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                // Names of the outside have dots: they are meant as they are, not as names of the cluster.
                "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] },
                "securityContext": {
                    "seccompProfile": { "type": "RuntimeDefault" },
                    "fsGroup": JOB_USER,
                    // The proxy listens on 53, 80 and 443, and is not root.
                    "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "53" }],
                },
                "initContainers": [self.wall(), self.sidecar()],
                "containers": [self.container()],
                "volumes": self.volumes(),
            },
        });
        if let Some(timeout) = self.plan.limits.timeout {
            pod["spec"]["activeDeadlineSeconds"] = json!(timeout.as_secs().max(1));
        }
        pod
    }

    /// The one container with a privilege. It ends before any other starts, and has no secret.
    fn wall(&self) -> Value {
        let mut context = hardened();
        context["capabilities"]["add"] = json!(["NET_ADMIN"]);
        context["runAsUser"] = json!(0);
        context["runAsGroup"] = json!(0);
        context["runAsNonRoot"] = json!(false);
        json!({
            "name": "wall",
            "image": self.reference(self.proxy),
            "command": [PROGRAM, "__pod", "wall"],
            "securityContext": context,
        })
    }

    fn sidecar(&self) -> Value {
        let mut mounts = vec![json!({ "name": "shared", "mountPath": SHARED })];
        for (number, directory) in self.secrets.files.keys().enumerate() {
            mounts.push(
                json!({ "name": format!("secret-{number}"), "mountPath": directory, "readOnly": true }),
            );
        }
        let variables: Vec<Value> = self
            .secrets
            .variables
            .iter()
            .map(|(variable, key)| {
                let reference = json!({ "name": self.secret(), "key": key.name, "optional": key.optional });
                json!({ "name": variable, "valueFrom": { "secretKeyRef": reference } })
            })
            .collect();
        json!({
            "name": "proxy",
            "image": self.reference(self.proxy),
            "restartPolicy": "Always",
            "env": variables,
            "startupProbe": {
                "exec": { "command": [PROGRAM, "__pod", "ready"] },
                "periodSeconds": 1,
                "failureThreshold": 60,
            },
            "securityContext": as_user(PROXY_USER),
            "volumeMounts": mounts,
        })
    }

    fn container(&self) -> Value {
        let mut job = json!({
            "name": "job",
            "image": self.reference(self.job),
            "workingDir": WORKSPACE,
            "securityContext": as_user(JOB_USER),
            "volumeMounts": [
                { "name": "shared", "mountPath": SHARED, "readOnly": true },
                { "name": "workspace", "mountPath": WORKSPACE },
                { "name": "home", "mountPath": HOME },
                { "name": "tmp", "mountPath": "/tmp" },
            ],
        });
        let limits = &self.plan.limits;
        if let Some(memory) = limits.memory {
            job["resources"]["limits"]["memory"] = json!(memory.to_string());
        }
        if let Some(disk) = limits.disk {
            job["resources"]["limits"]["ephemeral-storage"] = json!(disk.to_string());
        }
        if let Some(cpus) = limits.cpus {
            job["resources"]["limits"]["cpu"] = json!(format!("{}m", (cpus * 1000.0).ceil()));
        }
        job
    }

    fn volumes(&self) -> Vec<Value> {
        let mut volumes: Vec<Value> = ["shared", "workspace", "home", "tmp"]
            .map(|name| json!({ "name": name, "emptyDir": {} }))
            .to_vec();
        for (number, files) in self.secrets.files.values().enumerate() {
            let items: Vec<Value> = files
                .iter()
                .map(|(file, key)| json!({ "key": key.name, "path": file, "mode": 0o440 }))
                .collect();
            let optional = files.values().all(|key| key.optional);
            volumes.push(json!({
                "name": format!("secret-{number}"),
                "secret": { "secretName": self.secret(), "items": items, "optional": optional },
            }));
        }
        volumes
    }

    fn secret(&self) -> String {
        format!("{}-credentials", object_name(&self.spec.name))
    }
}

/// No privilege in any form.
fn hardened() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    })
}

fn as_user(user: u32) -> Value {
    let mut context = hardened();
    context["runAsNonRoot"] = json!(true);
    context["runAsUser"] = json!(user);
    context["runAsGroup"] = json!(user);
    context
}

/// The name as Kubernetes and registries take it: lower case, digits and `-`.
fn object_name(name: &str) -> String {
    name.chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' })
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sandbox::plan::Limits;

    use super::super::layout::{Image, Layout};
    use super::super::secrets;
    use super::*;
    use crate::credentials;

    fn manifest(options: &[&str], limits: Limits) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("oci")).unwrap();
        let image = |name: &str| {
            let image = Image {
                name: name.to_owned(),
                layers: Vec::new(),
                entrypoint: Vec::new(),
                environment: Vec::new(),
                directory: "/".to_owned(),
                user: 1,
            };
            layout.image(&image).unwrap()
        };
        let mut spec = JailSpec { name: "My.Agent_1".to_owned(), ..JailSpec::empty() };
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        credentials::add(&mut spec, &options).unwrap();
        let secrets = secrets::of_a_cluster(&mut spec).unwrap();
        let plan = Plan { limits, ..Plan::default() };
        let (job, proxy) = (image("My.Agent_1"), image("My.Agent_1-proxy"));
        let pod = Pod {
            spec: &spec,
            plan: &plan,
            secrets: &secrets,
            job: &job,
            proxy: &proxy,
            repository: "r.example",
        };
        pod.manifest()
    }

    #[test]
    fn one_container_has_a_privilege_and_another_the_secrets() {
        let pod = manifest(&["A=env:A@a.example", "B=file:/run/secrets/b@a.example"], Limits::default());
        let (wall, proxy, job) = (
            &pod["spec"]["initContainers"][0],
            &pod["spec"]["initContainers"][1],
            &pod["spec"]["containers"][0],
        );
        for container in [wall, proxy, job] {
            let context = &container["securityContext"];
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            let is_wall = container["name"] == "wall";
            assert_eq!(context["runAsNonRoot"], !is_wall);
            assert_eq!(
                context["capabilities"]["add"],
                if is_wall { json!(["NET_ADMIN"]) } else { Value::Null }
            );
            let text = container.to_string();
            assert_eq!(text.contains("secret"), container["name"] == "proxy", "{text}");
        }
        assert_ne!(proxy["securityContext"]["runAsUser"], job["securityContext"]["runAsUser"]);
        assert_eq!(proxy["restartPolicy"], "Always");
        let shared =
            job["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == "shared").unwrap();
        assert_eq!(shared["readOnly"], true);
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!((&spec["hostNetwork"], &spec["shareProcessNamespace"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn names_and_limits_are_as_kubernetes_takes_them() {
        let limits = Limits {
            memory: Some(1 << 30),
            cpus: Some(1.5),
            timeout: Some(Duration::from_secs(90)),
            disk: Some(1 << 31),
            pids: None,
        };
        let pod = manifest(&[], limits);
        assert_eq!(pod["metadata"]["name"], "my-agent-1");
        assert!(pod["spec"]["containers"][0]["image"].as_str().unwrap().starts_with("r.example/my-agent-1:"));
        assert_eq!(
            pod["spec"]["containers"][0]["resources"]["limits"],
            json!({ "memory": "1073741824", "ephemeral-storage": "2147483648", "cpu": "1500m" })
        );
        assert_eq!(pod["spec"]["activeDeadlineSeconds"], 90);
    }
}
