//! The requests of trace, minimize and verify, which run a program and measure it, and the options
//! that they share.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser, ValueHint};

use rcap::{
    CapSet, container,
    settings::{Format, User},
    trace::{Backend, Options, minimize::Plan},
};

use super::{Mistake, Request, UnitOptions, values};
use crate::source::FORMS;

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
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["unit", "user_unit"])]
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

/// The options of minimize and verify: the subject of the runs, and how they are judged.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MeasureOptions {
    #[command(flatten)]
    pub(crate) files: ComposeFiles,
    /// Measure this container of the pod of `podman kube play`, if the pod has several
    #[arg(short, long, value_name = "NAME",
          conflicts_with_all = ["unit", "user_unit", "compose"])]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) judging: Judging,
    #[command(flatten)]
    pub(crate) service: UnitOptions,
    /// The program and its arguments, or the service of --compose, if there are several
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        conflicts_with_all = ["unit", "user_unit"],
        required_unless_present_any = ["unit", "user_unit", "compose"]
    )]
    pub(crate) program: Vec<OsString>,
}

/// `rcap minimize`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap minimize [OPTION]... [--] PROGRAM [ARG]...\n       \
                      rcap minimize [OPTION]... [--] docker run [OPTION]... IMAGE [ARG]...\n       \
                      rcap minimize [OPTION]... --compose FILE [SERVICE]\n       \
                      rcap minimize [OPTION]... --unit NAME --check COMMAND\n       \
                      rcap minimize --rootless [OPTION]... [--] docker run [OPTION]... IMAGE [ARG]...\n       \
                      rcap minimize --rootless [OPTION]... --unit NAME --check COMMAND",
    after_help = "The program runs several times, without input, and its output is not shown.\n\n\
                  Example: rcap minimize -- ping -c 1 127.0.0.1"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are the options")]
pub(crate) struct MinimizeRequest {
    #[command(flatten)]
    pub(crate) measure: MeasureOptions,
    /// Write the minimum to the drop-in file of the unit, or to a new compose.override.yaml
    #[arg(long, conflicts_with_all = ["to", "copy"])]
    pub(crate) write: bool,
    /// Remove the drop-in file that --write has written
    #[arg(long, conflicts_with_all = ["write", "check", "copy"])]
    pub(crate) undo: bool,
    /// Find the changes with which a container or a unit works as a non-root user without capabilities
    #[arg(long, conflicts_with_all = ["copy", "user_unit"])]
    pub(crate) rootless: bool,
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
    /// Run as a user, with ambient capabilities; with --rootless and --unit, the user to try
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
}

/// `rcap verify`
#[derive(Debug, Parser)]
#[command(
    override_usage = "rcap verify [OPTION]... [--] docker run [OPTION]... IMAGE [ARG]...\n       \
                      rcap verify [OPTION]... --compose FILE [SERVICE]\n       \
                      rcap verify [OPTION]... --caps CAPS|--from SOURCE [--] PROGRAM [ARG]...\n       \
                      rcap verify [OPTION]... --unit NAME --check COMMAND",
    after_help = "It runs once, without input, and its output is not shown. The exit status is 0 if \
                  it works and needs what it has, 1 if not, and 125 if that is not known.\n\n\
                  Example: rcap verify -- docker run --cap-drop ALL --cap-add CHOWN IMAGE\n         \
                  rcap verify --caps net_raw -- ping -c 1 127.0.0.1"
)]
pub(crate) struct VerifyRequest {
    #[command(flatten)]
    pub(crate) measure: MeasureOptions,
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
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) recording: Recording,
}

impl Request for MinimizeRequest {}
impl Request for VerifyRequest {}
