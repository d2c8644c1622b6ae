//! The unit and the container of a process, by its control group. (cgroups(7))

/// Returns the id of the container in a text of `/proc/PID/cgroup`: the last component that is an
/// id of 64 hexadecimal digits, alone or as engines write it, such as `docker-ID.scope`.
pub(super) fn container(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.rsplit('/').find_map(id))
}

fn id(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    // libpod-conmon-ID is the monitor of a container, and not in it.
    if name.starts_with("libpod-conmon-") {
        return None;
    }
    let id = name.rsplit(['-', ':']).next()?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers() {
        let id = "0123456789abcdef".repeat(4);
        let rows = [
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("12:cpu:/docker/{id}\n0::/\n"), true),
            (format!("0::/machine.slice/libpod-{id}.scope/container\n"), true),
            (format!("0::/machine.slice/libpod-conmon-{id}.scope\n"), false),
            (format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"), true),
            (format!("0::/kubepods/besteffort/pod1/{id}\n"), true),
            (format!("0::/system.slice/containerd.service/kubepods:cri-containerd:{id}\n"), true),
            (format!("0::/docker/{}\n", &id[1..]), false),
            ("0::/system.slice/nginx.service\n".to_owned(), false),
            (String::new(), false),
        ];
        for (text, is_one) in rows {
            assert_eq!(container(&text), is_one.then_some(&*id), "{text}");
        }
    }
}
