//! `rcap minimize` of a container, also of a service of Compose: the smallest set with which it does
//! the same.

use std::io::Write;

use rcap::{
    CapSet,
    container::{self, Container, Recipe},
    launch::attainable,
    settings::{Settings, Target},
    tools::{Escaped, Mistake, signals, table::fit},
    trace::minimize::{Found, Minimizer, Run, Stop, Unfit},
};

use super::{
    Exit, Failure, Io, MinimizeRequest, compose,
    delegated::{self, Measured},
    print::Network,
    print_found, settings, show_progress,
};

/// Searches with containers of this recipe.
///
/// # Errors
///
/// [`Failure`]
pub(super) fn run(
    request: &MinimizeRequest,
    measured: &Measured,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    check(request)?;
    let Measured { recipe, name, client } = measured;
    let place = match recipe {
        Recipe::Service(service) if request.write && !service.is_one_off() => {
            Some(compose::place(service)?)
        }
        _ if request.write => {
            return Err(
                Mistake::new("--write requires a service that Compose starts with up").into()
            );
        }
        _ => None,
    };
    let shown = Escaped(recipe.to_string().as_bytes()).to_string();
    let client = Escaped(client.as_bytes());
    let other = match recipe {
        Recipe::Bundle(_) => format!("{client} itself"),
        _ => format!("the {client} client"),
    };
    let words = format!("Measuring the container of `{shown}`, not {other}.");
    fit(&words, io.err)?;
    let mut show = show_progress(request.measure.json);
    signals::catch()?;
    let withheld = request.drop.unwrap_or_default();
    let most = recipe.most().map_err(|err| delegated::container_failed(name, err))?;
    let (most, all) = (most - withheld, attainable()? - withheld);
    let (mut found, mut ended, way) = search(request, measured, most, io, &mut show)?;
    if let (true, Err(Stop::Unfit(Unfit::Fails { failures, message }))) = (most != all, &ended) {
        let failure = failures.first().map(|failure| failure.with_message(message));
        let failure = Escaped(failure.unwrap_or_default().as_bytes()).to_string();
        let words = format!("With the default capabilities, {failure}. Trying all capabilities.");
        fit(&words, io.err)?;
        (found, ended, _) = search(request, measured, all, io, &mut show)?;
    }
    let exit = match ended {
        Err(Stop::Failed(err)) => return Err(delegated::container_failed(name, err)),
        Err(Stop::Unfit(unfit)) => return Err(Failure::No(unfit_words(&unfit, way))),
        Err(_) => Exit::INTERRUPTED,
        Ok(()) => Exit::SUCCESS,
    };
    report(request, recipe, &found, io)?;
    if let (true, false, Some(way)) = (found.proved, found.minimum.is_empty(), &way) {
        let words = format!("\nNote: {}. The runs prove it.", Escaped(way.as_bytes()));
        fit(&words, io.err)?;
    }
    if let (true, Recipe::Service(service)) = (found.proved, recipe) {
        if let Some(place) = &place {
            compose::write(service, place, &found)?;
            let path = place.path().display().to_string();
            fit(&format!("\nWrote {}.", Escaped(path.as_bytes())), io.err)?;
        }
        if !request.measure.json && request.settings.to.is_none() {
            compose::next(request, &found, io)?;
        }
    }
    Ok(exit)
}

/// Returns the reason for a missing minimum, and for a non-root user the ways to a capability and to
/// do without one.
fn unfit_words(unfit: &Unfit, way: Option<String>) -> String {
    match (unfit, way) {
        (Unfit::Fails { .. }, Some(way)) => format!(
            "{unfit} ({way}; a port below 1024 requires none with --sysctl \
             net.ipv4.ip_unprivileged_port_start=0, and ping requires none with --sysctl \
             net.ipv4.ping_group_range='0 2147483647')"
        ),
        _ => unfit.to_string(),
    }
}

/// Rejects options that a container's own arguments decide.
fn check(request: &MinimizeRequest) -> Result<(), Mistake> {
    let options = [
        ("--in-place", request.in_place),
        ("--net", request.net),
        ("--no-new-privs", request.no_new_privs),
        ("--reset", request.reset.is_some()),
        ("--user", request.user.is_some()),
    ];
    let wrong = options.iter().find(|(_, is_given)| *is_given);
    let words = |name| format!("{name} cannot be used for a container, which has its own options");
    wrong.map_or(Ok(()), |(name, _)| Err(Mistake::new(words(name))))
}

/// Warns if the runs share something that they can write to.
///
/// # Errors
///
/// Those of writing to standard error.
pub(crate) fn warn_of_shared(
    name: &str,
    container: &Container,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    if container.is_stateful() {
        let words = "warning: a run sees what earlier ones did in the directories and volumes that \
                     the containers share with the host";
        io.complain_in_words(name, words)?;
    }
    Ok(())
}

/// The result, the reason for which the search ended without a proof, and the way in which a user
/// other than root gets a capability.
type Searched = (Found, Result<(), Stop<container::Failed>>, Option<String>);

fn search(
    request: &MinimizeRequest,
    measured: &Measured,
    most: CapSet,
    io: &mut Io<'_>,
    progress: &mut dyn FnMut(&Run),
) -> Result<Searched, Failure> {
    let setup = request.measure.judging.container();
    let cancelled = Box::new(|| signals::caught().is_some());
    let options = request.measure.recording.options(true);
    let container = Container::new(measured.recipe.clone(), most, setup, options, cancelled);
    let container = container.map_err(|err| delegated::container_failed(&measured.name, err))?;
    warn_of_shared("rcap minimize", &container, io)?;
    let most = container.most();
    let way = container.way_of_user();
    let mut plan = request.measure.judging.plan(most, request.keep);
    plan.strict = request.strict;
    plan.stateful = container.is_stateful();
    if !container.is_recorded() {
        let words = "the engine's processes cannot be recorded: searching without a recording";
        io.complain_in_words("rcap minimize", words)?;
        plan.unseen = most;
    }
    let mut minimizer = Minimizer::new(plan, container);
    let ended = minimizer.search(progress);
    Ok((minimizer.found(), ended, way))
}

/// Prints the result, and the command line or the lines of the Compose file with the minimum.
fn report(
    request: &MinimizeRequest,
    recipe: &Recipe,
    found: &Found,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    if !print_found(request, found, Network::OfContainer, io)? {
        return Ok(());
    }
    let to = request.settings.to;
    match recipe {
        _ if to.is_some() => {}
        Recipe::Service(service) => compose::lines(service, found, io)?,
        Recipe::Run(invocation) => {
            let line = invocation.with_caps(found.minimum);
            // The line is not wrapped, so that it can be pasted.
            writeln!(io.out, "\n{}", Escaped(line.as_bytes()))?;
        }
        Recipe::Bundle(bundle) => {
            let file = Escaped(bundle.configuration().as_os_str().as_encoded_bytes()).to_string();
            let words = format!("In {file}, replace `capabilities` of `process` by:");
            writeln!(io.out)?;
            fit(&words, io.out)?;
            writeln!(io.out, "\n{:#}", bundle.capabilities(found.minimum))?;
        }
        _ => {}
    }
    let mut target = Target::default();
    target.is_measured = true;
    if let Recipe::Service(service) = recipe {
        target.service = Some(service.name().to_owned());
    }
    settings::write_for("rcap minimize", to, &Settings::new(found.minimum), &target, io)
}
