//! The requests, one for each command. The comments on the fields are the texts of `--help`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser, ValueHint};
use clap_complete::Shell;

use rcap::{
    CapSet, container,
    securebits::Securebits,
    settings::{Engine, Format, Id, User},
    trace::{Backend, Options, minimize::Plan},
};

use super::{
    Mistake, Request, UnitOptions,
    values::{self, Explained, Groups, ProfileName},
};
use crate::source::FORMS;

/// `rcap decode`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap decode [OPTION]... [TEXT]...",
    after_help = "Example: rcap decode 00000000a80425fb\n         \
                  rcap decode < /proc/self/status\n         \
                  rcap decode --encode net_raw,chown"
)]
pub(crate) struct DecodeRequest {
    /// Print the masks alone
    #[arg(long)]
    pub(crate) encode: bool,
    /// Read digits as a decimal number, not a hexadecimal one
    #[arg(long)]
    pub(crate) decimal: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// A mask, a line of /proc/PID/status, names with commas, or capability text
    /// [default: read standard input]
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
}

/// `rcap explain`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap explain [OPTION]... [CAPS]...",
    after_help = "Example: rcap explain net_raw\n         \
                  rcap explain --syscall bind\n         \
                  rcap explain --program ping"
)]
pub(crate) struct ExplainRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the capabilities that a system call can require, and when
    #[arg(long, conflicts_with_all = ["caps", "program"])]
    pub(crate) syscall: Option<String>,
    /// Print the capabilities that a program can need
    #[arg(long, value_name = "NAME", conflicts_with = "caps")]
    pub(crate) program: Option<String>,
    /// Names with commas, or the id of a finding of `rcap scan`
    /// [default: one line for each capability]
    #[arg(value_parser = values::explained)]
    pub(crate) caps: Vec<Explained>,
}

/// `rcap suggest`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap suggest [OPTION]... WORD...",
    after_help = "A suggestion is likely, not measured: `rcap trace` measures.\n\n\
                  Example: rcap suggest \"remove a file owned by someone else\"\n         \
                  rcap suggest netcat on port 80"
)]
pub(crate) struct SuggestRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// A task, an error message, or the name of a program or a capability
    #[arg(value_name = "WORD", required = true)]
    pub(crate) words: Vec<String>,
}

/// `rcap why`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap why [OPTION]... PROGRAM\n       \
                      rcap why [OPTION]... --from SOURCE [PROGRAM]\n       \
                      rcap why [OPTION]... --pid PID|--unit UNIT|--container ID [PROGRAM]",
    after_help = "Nothing is executed. The exit status is 0 if execve(2) would succeed, 1 if it \
                  would fail and 2 if that is not known.\n\n\
                  Example: rcap why --user nobody ping\n         \
                  rcap why --from compose.yaml:web /usr/bin/nc\n         \
                  rcap why --pid 1234"
)]
pub(crate) struct WhyRequest {
    /// Assume this user, by name or number; USER:GROUP too
    #[arg(long)]
    pub(crate) user: Option<User>,
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, conflicts_with = "pid",
          help = format!("Assume the settings of SOURCE: {FORMS}"))]
    pub(crate) from: Option<String>,
    /// Assume the credentials of a process; without a PROGRAM, explain where its capability sets
    /// come from
    #[arg(long, conflicts_with = "user")]
    pub(crate) pid: Option<u32>,
    /// The engine that reads SOURCE, as NAME or NAME@VERSION, such as docker@20.10 [default: the
    /// newest known]
    #[arg(long, requires = "from")]
    pub(crate) engine: Vec<Engine>,
    /// Assume the credentials of the first process of a running unit of systemd; without a PROGRAM,
    /// compare them with the unit's settings
    #[arg(long, conflicts_with_all = ["user", "from", "pid"])]
    pub(crate) unit: Option<String>,
    /// Assume the credentials of the first process of a running container, by its ID or its name in
    /// Docker or Podman; without a PROGRAM, compare them with the container's settings
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "from", "pid", "unit"])]
    pub(crate) container: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The program that would be executed; without it, that of SOURCE
    #[arg(required_unless_present_any = ["from", "pid", "unit", "container"])]
    pub(crate) program: Option<OsString>,
}

/// `rcap run`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap run [OPTION]... [--] PROGRAM [ARG]...",
    after_help = "rcap executes the program in its own place. Root starts with \
                  every capability that can be granted, unless --profile or --cap-add says \
                  otherwise, and a non-root user with none.\n\n\
                  Example: rcap run --user nobody --cap-add net_bind_service -- nc -l -p 80"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct RunRequest {
    /// Drop capabilities, or all
    #[arg(long, value_name = "CAPS", value_parser = values::caps)]
    pub(crate) cap_drop: Vec<CapSet>,
    /// Grant capabilities, or all
    #[arg(long, value_name = "CAPS", value_parser = values::caps)]
    pub(crate) cap_add: Vec<CapSet>,
    /// Grant exactly these capabilities
    #[arg(long, value_name = "CAPS", value_parser = values::caps,
          conflicts_with_all = ["cap_drop", "cap_add", "profile"])]
    pub(crate) cap_set: Vec<CapSet>,
    /// Start from the default capabilities of docker, podman, kubernetes-baseline or
    /// kubernetes-restricted
    #[arg(long, value_parser = values::profile)]
    pub(crate) profile: Option<ProfileName>,
    /// Run as this user, by name or number; USER:GROUP too
    #[arg(long)]
    pub(crate) user: Option<User>,
    /// Set the group, by name or number
    #[arg(long)]
    pub(crate) group: Option<Id>,
    /// Set the supplementary groups; an empty LIST sets none
    #[arg(long, value_name = "LIST", value_parser = values::groups)]
    pub(crate) groups: Option<Groups>,
    /// Set no_new_privs even if the program's file grants privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Leave no_new_privs unset, so that set-user-ID bits and file capabilities work
    #[arg(long, conflicts_with = "no_new_privs")]
    pub(crate) allow_new_privs: bool,
    /// Set securebits, by name
    #[arg(long, value_name = "LIST")]
    pub(crate) securebits: Option<Securebits>,
    /// Change the root directory
    #[arg(long, value_name = "PATH")]
    pub(crate) chroot: Option<PathBuf>,
    /// Change the working directory
    #[arg(long, value_name = "PATH")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set an environment variable: NAME=VALUE
    #[arg(long = "env", value_name = "VARIABLE", value_parser = values::variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// Print the privileges that the program would have, and do not run it
    #[arg(long)]
    pub(crate) print: bool,
    /// Read the capabilities back from the kernel, and kill the program if they differ
    #[arg(long)]
    pub(crate) verify: bool,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,
}

/// The options of a recording.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Recording {
    /// Record with tracepoint, kprobe or bpf [default: the best one here]
    #[arg(long, value_parser = values::backend)]
    pub(crate) backend: Option<Backend>,
    /// Initial size of the trace buffer of each processor, in kilobytes
    #[arg(long, value_name = "KB", default_value_t = 32768,
          value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(crate) buffer: u32,
}

impl Recording {
    /// Returns the options of a recording, with or without the results of system calls.
    pub(crate) fn options(&self, outcomes: bool) -> Options {
        let mut options = Options::default();
        options.backend = self.backend;
        options.kilobytes = self.buffer;
        options.outcomes = outcomes;
        options
    }
}

/// `rcap trace`
#[derive(Clone, Debug, Parser)]
#[command(
    override_usage = "rcap trace [OPTION]... [--] PROGRAM [ARG]...\n       \
                      rcap trace [OPTION]... --pid PID | --cgroup PATH | --unit NAME | \
                      --container ID\n       \
                      rcap trace --check",
    group = ArgGroup::new("running").args(["pid", "cgroup", "unit", "container"]).multiple(true),
    after_help = "The report goes to standard error. The exit status is that of the program.\n\n\
                  Example: rcap trace -- ping -c 1 127.0.0.1"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct TraceRequest {
    /// Print the ignored checks in full too
    #[arg(long)]
    pub(crate) all: bool,
    /// Print only the system calls that were denied, with the reason for each
    #[arg(long, conflicts_with_all = ["all", "json", "no_outcomes"])]
    pub(crate) refusals: bool,
    /// Print one JSON object; the program's standard output goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Print each check as it happens, as a line or a JSON object
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsFormat,
    /// Write the JSON object to FILE too, for `rcap report`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Add the run to the runs in FILE instead of replacing them
    #[arg(long, requires = "save")]
    pub(crate) add: bool,
    /// Record a process, its threads and its descendants
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Vec<u32>,
    /// Record the processes of a control group, by its directory
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Vec<PathBuf>,
    /// Record the processes of a systemd unit
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Vec<String>,
    /// Record a container, by its ID or its name in Docker or Podman
    #[arg(long, value_name = "ID")]
    pub(crate) container: Vec<String>,
    /// Restart the unit of --unit or the container of --container, and record it from its start
    #[arg(long, conflicts_with_all = ["pid", "cgroup"])]
    pub(crate) restart: bool,
    /// Restart a unit that is running without asking
    #[arg(long, requires = "unit")]
    pub(crate) yes: bool,
    /// Stop recording after a time such as 90s, 5m or 2h, and send SIGTERM to a program
    /// [default: when it ends, or when interrupted]
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    pub(crate) duration: Option<Duration>,
    /// The process is about to become container ID: ignore the checks of its runtime, and write a
    /// newline to standard output when the recording has started
    #[arg(long, value_name = "ID", requires = "pid")]
    pub(crate) starting: Option<String>,
    /// Print what this kernel and this user can record, and what is missing
    #[arg(long, exclusive = true)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) recording: Recording,
    /// Do not record the results of system calls: faster, but fewer checks are ignored
    #[arg(long)]
    pub(crate) no_outcomes: bool,
    /// Print the functions of the program that caused each check
    #[arg(long, conflicts_with_all = ["refusals", "no_outcomes"])]
    pub(crate) stacks: bool,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, conflicts_with = "running",
          required_unless_present_any = ["running", "check"])]
    pub(crate) program: Vec<OsString>,
}

impl Request for TraceRequest {
    fn check(&self) -> Result<(), Mistake> {
        if self.settings.to.is_some() && self.follow {
            return Err(Mistake::new("--to cannot be used with --follow"));
        }
        if self.restart && self.unit.len() + self.container.len() != 1 {
            return Err(Mistake::new("--restart takes one container or unit"));
        }
        Ok(())
    }
}

/// `--to` of a command that prints a report before the settings.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct SettingsFormat {
    /// Write the settings too, for docker, podman, compose, compose-override, kubernetes, quadlet,
    /// label, oci, systemd, setcap, capsh, setpriv or json
    #[arg(long, value_name = "FORMAT", value_parser = values::format, conflicts_with = "json")]
    pub(crate) to: Option<Format>,
}

/// The options that name a service of Compose.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ComposeFiles {
    /// Measure a service of this Compose file; several files are merged
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "unit")]
    pub(crate) compose: Vec<PathBuf>,
    /// The name of the Compose project, whose volumes are copied
    #[arg(long, value_name = "NAME", requires = "compose")]
    pub(crate) project_name: Option<String>,
}

/// The options that decide whether a run works.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Judging {
    /// Run a shell command until it succeeds, which shows that the program works
    #[arg(long, value_name = "COMMAND")]
    pub(crate) check: Option<String>,
    /// The same in the container
    #[arg(long, value_name = "COMMAND", conflicts_with = "check")]
    pub(crate) check_in: Option<String>,
    /// Use the container's named volumes, instead of a copy for each run
    #[arg(long)]
    pub(crate) shared_volumes: bool,
    /// Run on for so long after --check, and processes left behind after the program's end
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = values::duration)]
    pub(crate) settle: Duration,
    /// Exit status with which the program succeeds
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    pub(crate) expect: u8,
    /// Require the same standard output too
    #[arg(long)]
    pub(crate) same_output: bool,
    /// Time limit for one run [default: 10 times the longest run with all capabilities plus 5s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
    /// Run it N times with each set; every run has to pass
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,
}

impl Judging {
    /// Returns the plan for runs with at most these capabilities.
    pub(crate) fn plan(&self, most: CapSet, keep: Option<CapSet>) -> Plan {
        let mut plan = Plan::new(most);
        plan.keep = keep.unwrap_or_default();
        plan.expect = self.expect.into();
        plan.repeat = self.repeat;
        plan.timeout = self.timeout;
        plan
    }

    /// Returns how containers are judged.
    pub(crate) fn container(&self) -> container::Setup {
        let mut setup = container::Setup::default();
        setup.check.clone_from(&self.check);
        setup.check_in.clone_from(&self.check_in);
        setup.settle = self.settle;
        setup.same_output = self.same_output;
        setup.shared_volumes = self.shared_volumes;
        setup
    }

    /// Rejects options that only a container can have.
    ///
    /// # Errors
    ///
    /// [`Mistake`] with the name of the option.
    pub(crate) fn check_program(&self) -> Result<(), Mistake> {
        let given =
            [("--check-in", self.check_in.is_some()), ("--shared-volumes", self.shared_volumes)];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Mistake::new(format!("{name} requires a container"))),
            None => Ok(()),
        }
    }

    /// Returns the options that are not the default, as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let text = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| [name.to_owned(), value.clone()])
        };
        let expect = (self.expect != 0).then(|| ["--expect".to_owned(), self.expect.to_string()]);
        let pairs = [text("--check", &self.check), text("--check-in", &self.check_in), expect];
        pairs.into_iter().flatten().flatten().collect()
    }
}

/// `rcap minimize`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap minimize [OPTION]... [--] PROGRAM [ARG]...\n       \
                      rcap minimize [OPTION]... [--] docker run [OPTION]... IMAGE [ARG]...\n       \
                      rcap minimize [OPTION]... --compose FILE SERVICE\n       \
                      rcap minimize [OPTION]... --unit NAME --check COMMAND",
    after_help = "The program runs several times, without input, and its output is not shown.\n\n\
                  Example: rcap minimize -- ping -c 1 127.0.0.1"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct MinimizeRequest {
    #[command(flatten)]
    pub(crate) files: ComposeFiles,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) service: UnitOptions,
    /// Write the minimum to the drop-in file of the unit, or to a new compose.override.yaml
    #[arg(long, conflicts_with = "to")]
    pub(crate) write: bool,
    /// Remove the drop-in file that --write has written
    #[arg(long, requires = "unit", conflicts_with_all = ["write", "check"])]
    pub(crate) undo: bool,
    /// Also keep capabilities whose refusal the program tolerates
    #[arg(long)]
    pub(crate) strict: bool,
    /// Run on the real file system instead of a fresh copy for each run
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Run a shell command before each run
    #[arg(long, value_name = "COMMAND")]
    pub(crate) reset: Option<String>,
    /// Give each run a private network, and compare its state
    #[arg(long, conflicts_with = "in_place")]
    pub(crate) net: bool,
    /// Run as a user, with ambient capabilities
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<User>,
    /// Set no_new_privs
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Never drop these capabilities
    #[arg(long, value_name = "CAPS", overrides_with = "keep", value_parser = values::caps)]
    pub(crate) keep: Option<CapSet>,
    /// Always drop these capabilities
    #[arg(long, value_name = "CAPS", overrides_with = "drop", value_parser = values::caps)]
    pub(crate) drop: Option<CapSet>,
    #[command(flatten)]
    pub(crate) settings: SettingsFormat,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) recording: Recording,
    /// The program and its arguments, or the service of --compose
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        conflicts_with = "unit",
        required_unless_present = "unit"
    )]
    pub(crate) program: Vec<OsString>,
}

/// `rcap verify`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap verify [OPTION]... [--] docker run [OPTION]... IMAGE [ARG]...\n       \
                      rcap verify [OPTION]... --compose FILE SERVICE\n       \
                      rcap verify [OPTION]... --caps CAPS|--from SOURCE [--] PROGRAM [ARG]...\n       \
                      rcap verify [OPTION]... --unit NAME --check COMMAND",
    after_help = "It runs once, without input, and its output is not shown. The exit status is 0 if \
                  it works and needs what it has, 1 if not, and 125 if that is not known.\n\n\
                  Example: rcap verify -- docker run --cap-drop ALL --cap-add CHOWN IMAGE\n         \
                  rcap verify --caps net_raw -- ping -c 1 127.0.0.1"
)]
pub(crate) struct VerifyRequest {
    #[command(flatten)]
    pub(crate) files: ComposeFiles,
    /// Run it without each capability too: it is superfluous if the result is the same
    #[arg(long)]
    pub(crate) minimal: bool,
    /// Give a program exactly these capabilities, or none with 0
    #[arg(long, value_name = "CAPS", value_parser = values::caps_or_mask)]
    pub(crate) caps: Option<CapSet>,
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, conflicts_with = "caps",
          help = format!("Give a program the settings of SOURCE: {FORMS}"))]
    pub(crate) from: Option<String>,
    /// Run a program as a user, with ambient capabilities
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<User>,
    /// Do not count these capabilities as superfluous
    #[arg(long, value_name = "CAPS", overrides_with = "keep", value_parser = values::caps)]
    pub(crate) keep: Option<CapSet>,
    /// Do not count these capabilities as missing when they are refused
    #[arg(long, value_name = "CAPS", overrides_with = "tolerate", value_parser = values::caps)]
    pub(crate) tolerate: Option<CapSet>,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) service: UnitOptions,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) recording: Recording,
    /// The program and its arguments, or the service of --compose
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        conflicts_with = "unit",
        required_unless_present = "unit"
    )]
    pub(crate) program: Vec<OsString>,
}

/// `rcap report`
#[derive(Debug, Parser)]
#[command(override_usage = "rcap report [OPTION]... FILE...")]
pub(crate) struct ReportRequest {
    /// Print the ignored checks in full too
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsFormat,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page for a browser to FILE, without requests to anything else
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,
    /// Wait for running recordings to end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Reports written by `rcap trace --save` or `--json`; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `rcap oci-hook`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap oci-hook --save DIRECTORY < STATE",
    after_help = "A runtime calls it as a createRuntime hook, with the state of the container on \
                  standard input. The report is written when the container ends."
)]
pub(crate) struct HookRequest {
    /// Write the report to ID.json in this directory, which must exist
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) save: PathBuf,
}

/// `rcap oci-runtime`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap oci-runtime --save DIRECTORY -- RUNTIME [ARG]...",
    after_help = "Add it to /etc/docker/daemon.json, and restart the Docker daemon:\n\n  \
                  \"runtimes\": {\"rcap\": {\n    \"path\": \"/usr/local/bin/rcap\",\n    \
                  \"runtimeArgs\": [\"oci-runtime\", \"--save\", \"/var/lib/rcap\", \"--\", \"runc\"]\n  }}\n\n\
                  Example: docker run --runtime rcap --cidfile id IMAGE\n         \
                  rcap report --wait /var/lib/rcap/$(cat id).json"
)]
pub(crate) struct RuntimeRequest {
    /// Write the report to ID.json in this directory, which must exist
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) save: PathBuf,
    /// The runtime, such as runc, and its arguments
    #[arg(value_name = "RUNTIME", required = true, last = true)]
    pub(crate) runtime: Vec<OsString>,
}

/// `rcap export`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap export --to FORMAT [OPTION]... [CAPS]...",
    after_help = "The settings go to standard output, and warnings to standard error.\n\n\
                  Example: rcap export --to compose chown,net_raw\n         \
                  rcap export --to systemd --from compose.yaml:web"
)]
pub(crate) struct ExportRequest {
    /// Write settings for docker, podman, compose, compose-override, kubernetes, quadlet, label,
    /// oci, systemd, setcap, capsh, setpriv or json
    #[arg(long, value_name = "FORMAT", value_parser = values::format)]
    pub(crate) to: Format,
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, conflicts_with = "caps",
          help = format!("Convert the settings of SOURCE: {FORMS}"))]
    pub(crate) from: Option<String>,
    /// Grant them to this user, by name or number; USER:GROUP too [default: root]
    #[arg(long)]
    pub(crate) user: Option<User>,
    /// The engine that reads the settings, as NAME or NAME@VERSION, such as docker@20.10
    /// [default: the newest known]
    #[arg(long)]
    pub(crate) engine: Vec<Engine>,
    /// The service that compose-override changes
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The Compose file that compose-override is merged with; the export fails if the merged
    /// service has more than the source [default: the source]
    #[arg(long, value_name = "FILE")]
    pub(crate) base: Option<String>,
    /// Names with commas, or a mask [default: no capabilities]
    #[arg(value_parser = values::caps_or_mask)]
    pub(crate) caps: Vec<CapSet>,
}

/// `rcap diff`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap diff [OPTION]... SOURCE SOURCE...",
    after_help = "The exit status is 1 if the first source has something that another one lacks, 2 \
                  if a source cannot be read, and 0 otherwise.\n\n\
                  Example: rcap diff compose.yaml:web pid:1234\n         \
                  rcap diff old/ new/\n         \
                  rcap diff docker 'docker run --cap-drop ALL --cap-add CHOWN'"
)]
pub(crate) struct DiffRequest {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The engine that reads the settings, as NAME or NAME@VERSION, such as docker@20.10
    /// [default: the newest known]
    #[arg(long)]
    pub(crate) engine: Vec<Engine>,
    #[arg(value_name = "SOURCE", num_args = 2.., required = true, help = FORMS)]
    pub(crate) sources: Vec<String>,
}

/// `rcap completions`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap completions [OPTION]... SHELL",
    after_help = "Example: rcap completions --install bash\n         \
                  rcap completions zsh > /usr/local/share/zsh/site-functions/_rcap"
)]
pub(crate) struct CompletionsRequest {
    /// Write the script to the directory where the shell finds it: for all users if you are root,
    /// and otherwise for you
    #[arg(long)]
    pub(crate) install: bool,
    /// Complete one of libcap's programs, not rcap
    #[arg(long = "for", value_name = "NAME", value_hint = ValueHint::CommandName,
          value_parser = ["getcap", "setcap", "getpcaps", "capsh", "captree"])]
    pub(crate) program: Option<String>,
    /// bash, zsh or fish
    #[arg(value_parser = values::shell)]
    pub(crate) shell: Shell,
}

/// `rcap man`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap man [COMMAND]",
    after_help = "Example: rcap man trace\n         \
                  rcap man trace > /usr/local/share/man/man8/rcap-trace.8"
)]
pub(crate) struct ManRequest {
    /// A command, or a page with its section, such as rcap.7 [default: rcap]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

impl Request for DecodeRequest {}
impl Request for ExplainRequest {}
impl Request for SuggestRequest {}
impl Request for WhyRequest {}
impl Request for RunRequest {}
impl Request for MinimizeRequest {}
impl Request for VerifyRequest {}
impl Request for ReportRequest {}
impl Request for HookRequest {}
impl Request for RuntimeRequest {}

impl Request for ExportRequest {
    fn check(&self) -> Result<(), Mistake> {
        if self.base.is_some() && self.to != Format::ComposeOverride {
            return Err(Mistake::new("--base requires --to compose-override"));
        }
        Ok(())
    }
}

impl Request for DiffRequest {}
impl Request for CompletionsRequest {}
impl Request for ManRequest {}
