//! Command lines, and the Compose files that they become.

use super::*;
use crate::{Cap, container::Delegation, settings::documents};

fn composed(line: &str) -> Result<String, SettingsError> {
    let words: Vec<_> = line.split(' ').map(|word| word.replace('_', " ").into()).collect();
    let invocation = Invocation::new(&Delegation::of(&words).unwrap())?;
    Ok(invocation.compose(Cap::NET_RAW.into())?.text)
}

#[test]
fn the_file_of_a_command_line() {
    let line = "docker run -d --rm --name web -p 80:80 -p 80:80 -v data:/d -v /etc:/e:ro -v /anon \
                    -e A=$X -e B --privileged --cap-add ALL --cidfile i --sysctl kernel.x=1 -u 5 \
                    --tmpfs /t:size=1m --entrypoint sh reg:5000/a/web:1@sha256:0 -c echo_$HOME";
    let want = r#"# Left out, because Compose has no key for it: --detach, --rm, --cidfile "i"
services:
  web:
    image: "reg:5000/a/web:1@sha256:0"
    cap_drop: [ALL]
    cap_add: [NET_RAW]
    command:
      - "-c"
      - "echo $$HOME"
    container_name: "web"
    entrypoint:
      - "sh"
    environment:
      A: "$$X"
      B: null
    ports:
      - "80:80"
    sysctls:
      kernel.x: "1"
    tmpfs:
      - "/t:size=1m"
    user: "5"
    volumes:
      - "data:/d"
      - "/etc:/e:ro"
      - "/anon"
volumes:
  data:
    name: "data""#;
    assert_eq!(composed(line).unwrap(), want);
}

#[test]
fn options_and_keys() {
    #[rustfmt::skip]
        let rows: &[(&str, Value)] = &[
            ("--read-only --init=false",     json!({"read_only": true, "init": false})),
            ("--restart no --restart always", json!({"restart": "always"})),
            ("-m 64m --pids-limit 5",        json!({"mem_limit": "64m", "pids_limit": 5})),
            ("--memory-swap -1",             json!({"memswap_limit": -1})),
            ("--ulimit nofile=1:2 --ulimit core=0", json!({"ulimits": {"nofile": {"soft": 1, "hard": 2}, "core": {"soft": 0, "hard": 0}}})),
            ("--health-cmd true_x --health-retries 3", json!({"healthcheck": {"test": ["CMD-SHELL", "true x"], "retries": 3}})),
            ("--no-healthcheck",             json!({"healthcheck": {"disable": true}})),
            ("--stop-timeout 9",             json!({"stop_grace_period": "9s"})),
            ("--log-opt a=b --log-driver l", json!({"logging": {"driver": "l", "options": {"a": "b"}}})),
            ("--device-read-bps /dev/a:1mb", json!({"blkio_config": {"device_read_bps": [{"path": "/dev/a", "rate": "1mb"}]}})),
            ("--gpus 2",                     json!({"deploy": {"resources": {"reservations": {"devices": [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]}}}})),
            ("--security-opt no-new-privileges --device /dev/a", json!({"security_opt": ["no-new-privileges"], "devices": ["/dev/a"]})),
            ("-l on=1 -l b",                 json!({"labels": {"on": "1", "b": ""}})),
            ("--volumes-from a:ro",          json!({"volumes_from": ["container:a:ro"]})),
            ("--entrypoint=",                json!({"entrypoint": [""]})),
            ("--network default",            json!({"network_mode": "bridge"})),
            ("--net container:a",            json!({"network_mode": "container:a"})),
            ("--ip 10.0.0.2 --network-alias x --network n", json!({"networks": {"n": {"ipv4_address": "10.0.0.2", "aliases": ["x"]}}})),
            ("--network name=n,alias=x --network m", json!({"networks": {"n": {"aliases": ["x"]}, "m": {}}})),
            ("--mount type=bind,src=/a,dst=/b,readonly", json!({"volumes": [{"type": "bind", "source": "/a", "target": "/b", "read_only": true}]})),
            ("--mount type=tmpfs,target=/t,tmpfs-mode=1770", json!({"volumes": [{"type": "tmpfs", "target": "/t", "tmpfs": {"mode": 0o1770}}]})),
        ];
    for (options, want) in rows {
        let text = composed(&format!("docker run {options} web")).unwrap();
        let read = documents(&text).unwrap();
        let mut service = read[0]["services"]["web"].as_object().unwrap().clone();
        for key in ["image", "cap_add", "cap_drop"] {
            assert!(service.remove(key).is_some(), "{text}");
        }
        assert_eq!(Value::from(service), *want, "{text}");
        assert!(!text.contains('#'), "{text}");
    }
}

#[test]
fn volumes_and_networks() {
    let text = composed("docker run --volume-driver d --mount src=v,dst=/v --network n web");
    let read = documents(&text.unwrap()).unwrap();
    assert_eq!(read[0]["volumes"], json!({"v": {"name": "v", "driver": "d"}}));
    assert_eq!(read[0]["networks"], json!({"n": {"name": "n", "external": true}}));
}

#[test]
fn options_without_a_key() {
    for (option, want) in [
        ("-P", "--publish-all"),
        ("--stop-timeout -1", "--stop-timeout \"-1\""),
        ("--gpus device=0", "--gpus \"device=0\""),
        ("--ulimit host", "--ulimit \"host\""),
        ("--ip 10.0.0.2", "--ip \"10.0.0.2\""),
        ("--env=FOO*", "--env \"FOO*\""),
        // Without one of its fields, a mount could have more.
        ("--mount type=bind,src=/a,dst=/b,x=y", "--mount \"type=bind,src=/a,dst=/b,x=y\""),
        ("--cidfile a\nb", "--cidfile \"a\\u000ab\""),
    ] {
        let text = composed(&format!("docker run {option} web")).unwrap();
        let first = format!("# Left out, because Compose has no key for it: {want}");
        assert_eq!(text.lines().next(), Some(&*first));
        assert_eq!(text.lines().count(), 6, "{text}");
    }
    for option in ["--uidmap 0:1:1", "--pod p"] {
        let err = composed(&format!("podman run {option} web")).unwrap_err().to_string();
        assert!(err.contains("no equivalent in Compose"), "{err}");
    }
    for network in ["podman run --network a,b", "docker run --network name=a,driver-opt=b"] {
        assert!(composed(&format!("{network} web")).is_err(), "{network}");
    }
    assert!(composed("docker run --what web").is_err());
}
