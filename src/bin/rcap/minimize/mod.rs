//! `rcap minimize`: finds the smallest set of capabilities with which a program works, by running
//! it.

use std::{ffi::OsString, io::Write};

use super::{
    Exit, Io,
    args::MinimizeRequest,
    delegated::{self, Measure},
    failure::Failure,
    progress::Progress,
    run::look_up,
    service, settings,
};
use rcap::{
    Cap,
    launch::attainable,
    settings::Format,
    tools::{Mistake, signals, table::fit},
    trace::minimize::{self, Found, Minimizer, Program, Setup, Stop, init_process},
};

mod compose;
mod container;
mod print;
mod rootless;
mod unit;

use print::Network;
pub(crate) use {container::warn_of_shared, print::run_json};

/// Runs as the init process of an overlay, if the arguments of this process say so.
pub(crate) fn init(argv: &[OsString]) -> Option<Exit> {
    Some(if init_process(argv)?.is_ok() { Exit::SUCCESS } else { Exit::OWN_FAILURE })
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &MinimizeRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if let Some(unit) = service::Unit::of(&request.measure.service, &request.measure.program)? {
        return if request.rootless {
            rootless::run_unit(request, &unit, io)
        } else {
            unit::run(request, &unit, io)
        };
    }
    if let Some(measured) = delegated::recipe(&request.measure)? {
        return if request.rootless {
            rootless::run_container(request, &measured, io)
        } else {
            container::run(request, &measured, io)
        };
    }
    if request.rootless {
        return Err(Mistake::new(
            "--rootless requires a container, a service of Compose or a unit",
        )
        .into());
    }
    if request.write {
        return Err(Mistake::new("--write requires --unit or a service of Compose").into());
    }
    delegated::check(&request.measure.program, Measure::Minimize)?;
    request.measure.judging.check_program()?;
    // A user that the format cannot express is rejected before anything runs.
    settings::check(request.settings.to, request.user.as_ref())?;
    if request.in_place && request.reset.is_none() {
        io.complain_in_words(
            "rcap minimize",
            "warning: with --in-place, a run sees what earlier ones did; --reset undoes that",
        )?;
    }
    let progress = Progress::new(request.json);
    signals::catch()?;
    let (mut found, mut ended) = search(request, request.net, &progress)?;
    let mut network = if request.net { Network::Compared } else { Network::Shared };
    // Effects on the machine's network are permanent, so they can only be compared in private
    // networks.
    let is_doubtful = (found.used() - found.minimum - found.keep).contains(Cap::NET_ADMIN);
    if found.proved && is_doubtful && network == Network::Shared && !request.in_place {
        match search(request, true, &progress)? {
            (private, Ok(())) if private.minimum.is_superset(found.minimum) => {
                (found, network) = (private, Network::Private);
            }
            (_, Err(Stop::Interrupted)) => {
                found.proved = false;
                ended = Err(Stop::Interrupted);
            }
            // The program does not work in a private network, which the report states.
            _ => {}
        }
    }
    match ended {
        Err(Stop::Failed(minimize::Failed::Run(err))) => Err(err.into()),
        Err(Stop::Failed(err)) => Err(Failure::No(err.to_string())),
        Err(Stop::Unfit(unfit)) => Err(Failure::No(unfit.to_string())),
        Err(_) => report(request, &found, network, io).map(|()| Exit::INTERRUPTED),
        Ok(()) => report(request, &found, network, io).map(|()| Exit::SUCCESS),
    }
}

/// The result, and the reason for which the search ended without a proof.
type Searched = (Found, Result<(), Stop<minimize::Failed>>);

fn search(
    request: &MinimizeRequest,
    private_network: bool,
    progress: &Progress,
) -> Result<Searched, Failure> {
    let mut minimizer = minimizer(request, private_network, progress)?;
    let ended = minimizer.search(&mut |run| progress.show(run));
    Ok((minimizer.found(), ended))
}

/// Prepares the search described by the options.
fn minimizer(
    request: &MinimizeRequest,
    private_network: bool,
    progress: &Progress,
) -> Result<Minimizer<Program>, Failure> {
    let mut setup = Setup::new(request.measure.program.clone());
    setup.identity = request.user.as_ref().map(look_up).transpose()?;
    setup.no_new_privs = request.no_new_privs;
    setup.in_place = request.in_place;
    setup.private_network = private_network;
    setup.reset.clone_from(&request.reset);
    let judging = &request.measure.judging;
    setup.check.clone_from(&judging.check);
    setup.settle = judging.settle;
    setup.same_output = judging.same_output;
    let mut plan = judging.plan(attainable()? - request.drop.unwrap_or_default(), request.keep);
    plan.strict = request.strict;
    plan.stateful = request.in_place;
    let interruption = progress.interruption(judging);
    let program = Program::new(setup, &request.recording.options(true), interruption)?;
    Ok(Minimizer::new(plan, program))
}

/// Prints what was found, and returns whether settings are to follow.
fn print_found(
    request: &MinimizeRequest,
    found: &Found,
    network: Network,
    io: &mut Io<'_>,
) -> Result<bool, Failure> {
    if request.json {
        writeln!(io.out, "{}", print::json(&request.measure.program, found))?;
        return Ok(false);
    }
    let mut text = Vec::new();
    print::print(found, network, request.in_place, &mut text)?;
    let stream = settings::report_stream(request.settings.to, io);
    fit(&String::from_utf8_lossy(&text), stream)?;
    Ok(found.proved)
}

/// Prints the result.
fn report(
    request: &MinimizeRequest,
    found: &Found,
    network: Network,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    if !print_found(request, found, network, io)? {
        return Ok(());
    }
    let to = request.settings.to;
    settings::write("rcap minimize", to, found.minimum, request.user.as_ref(), io)?;
    match (to, print::tolerated(found)) {
        // JSON has no comments.
        (Some(Format::Oci | Format::Json), Some(words)) => {
            io.complain_in_words("rcap minimize", &words)?;
        }
        (Some(_), Some(words)) => writeln!(io.out, "# {words}")?,
        _ => {}
    }
    Ok(())
}
