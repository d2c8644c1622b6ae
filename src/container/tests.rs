use std::ffi::OsString;

use super::{Client, Delegation};

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn delegations() {
    #[rustfmt::skip]
    let rows = [
        ("docker run --rm web:1",                    Some((Client::Docker,     "docker run",        "--rm web:1"))),
        ("docker container run web:1",               Some((Client::Docker,     "docker container run", "web:1"))),
        ("/usr/bin/docker -H unix:///s run web",     Some((Client::Docker,     "docker run",        "web"))),
        ("sudo docker create web",                   Some((Client::Docker,     "docker create",     "web"))),
        ("env A=b docker run web",                   Some((Client::Docker,     "docker run",        "web"))),
        ("docker compose -f c.yaml up -d",           Some((Client::Compose,    "docker compose up", "-d"))),
        ("docker-compose -p x run --rm web",         Some((Client::Compose,    "docker-compose run", "--rm web"))),
        ("podman --root /r run x",                   Some((Client::Podman,     "podman run",        "x"))),
        ("podman kube play p.yaml",                  Some((Client::Podman,     "podman kube play",  "p.yaml"))),
        ("nerdctl -n k8s.io run x",                  Some((Client::Nerdctl,    "nerdctl run",       "x"))),
        ("runc --root /r run c",                     Some((Client::Runtime,    "runc run",          "c"))),
        ("systemctl restart nginx",                  Some((Client::Systemctl,  "systemctl restart", "nginx"))),
        ("systemd-run -p A=b --wait id",             Some((Client::SystemdRun, "systemd-run",       "id"))),
        ("kubectl -n a apply -f x",                  Some((Client::Kubectl,    "kubectl apply",     "-f x"))),
        ("docker ps",                                None),
        ("docker",                                   None),
        ("docker inspect run",                       None),
        ("systemctl status x",                       None),
        ("ls docker run",                            None),
        ("echo docker",                              None),
    ];
    for (text, want) in rows {
        let got = Delegation::of(&words(text));
        let got = got.as_ref().map(|one| (one.client, &*one.name, one.after.join(" ")));
        let want = want.map(|(client, name, after)| (client, name, after.to_owned()));
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn engines_on_other_machines() {
    let remote = |text: &str| Delegation::of(&words(text)).unwrap().remote().map(str::to_owned);
    assert_eq!(remote("docker -H tcp://a:1 run x").as_deref(), Some("tcp://a:1"));
    assert_eq!(remote("docker --host=ssh://a run x").as_deref(), Some("ssh://a"));
    assert_eq!(remote("docker --context far run x").as_deref(), Some("far"));
    for text in ["docker run x", "docker -H unix:///s run x", "docker --context default run -H t x"]
    {
        assert_eq!(remote(text), None, "{text}");
    }
}
