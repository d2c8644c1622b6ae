//! `rcap minimize` of a container, also of a service of Compose: the smallest set with which it does
//! the same.

use std::io::Write;

use rcap::{
    Cap, CapSet,
    container::{self, Container, Recipe},
    launch::attainable,
    settings::{Format, Settings, Target, shell_word},
    tools::{Escaped, Mistake, signals, table::fit},
    trace::{
        Meaning,
        minimize::{Found, Minimizer, Stop, Unfit},
    },
};

use super::{
    Exit, Failure, Io, MinimizeRequest, Progress, compose,
    delegated::{self, Measured},
    print::Network,
    print_found, settings,
};
use crate::new_file;

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
    check_format(request.settings.to, recipe)?;
    let place = place(request, recipe)?;
    let shown = Escaped(recipe.to_string().as_bytes()).to_string();
    let client = Escaped(client.as_bytes());
    let other = match recipe {
        Recipe::Bundle(_) => format!("{client} itself"),
        _ => format!("the {client} client"),
    };
    let words = format!("Measuring the container of `{shown}`, not {other}.");
    fit(&words, io.err)?;
    signals::catch()?;
    let Searched { found, ended, way, sysctls, recipe } = search_in_turn(request, measured, io)?;
    let exit = match ended {
        Err(Stop::Failed(err)) => return Err(delegated::container_failed(name, err)),
        Err(Stop::Unfit(unfit)) => return Err(Failure::No(unfit_words(&unfit, way, sysctls))),
        Err(_) => Exit::INTERRUPTED,
        Ok(()) => Exit::SUCCESS,
    };
    report(request, &recipe, &found, io)?;
    if !found.proved {
        return Ok(exit);
    }
    // A service of Compose has the options of the command line.
    let is_whole = matches!(recipe, Recipe::Run(_)) && request.settings.to == Some(Format::Compose);
    let is_incomplete = sysctls.is_some() && request.settings.to.is_some() && !is_whole;
    if let Some(words) = proof(&found, way, sysctls) {
        let rest = if is_incomplete { " The settings lack these options." } else { "" };
        let words = Escaped(words.as_bytes());
        fit(&format!("\nNote: {words}. The runs prove it.{rest}"), io.err)?;
    }
    if let Recipe::Service(service) = &recipe {
        if let Some(place) = &place {
            compose::write(service, place, &found)?;
            let path = place.path().display().to_string();
            fit(&format!("\nWrote {}.", Escaped(path.as_bytes())), io.err)?;
        }
        if !request.json && request.settings.to.is_none() {
            compose::next(request, &found, io)?;
        }
    }
    Ok(exit)
}

/// Returns the place for the file of `--write`.
fn place(request: &MinimizeRequest, recipe: &Recipe) -> Result<Option<new_file::Target>, Failure> {
    match recipe {
        _ if !request.write => Ok(None),
        Recipe::Service(service) if !service.is_one_off() => compose::place(service).map(Some),
        _ => Err(Mistake::new("--write requires a service that Compose starts with up").into()),
    }
}

/// Searches with the default capabilities, with all if the container does not work with those, and
/// with other values of sysctl(8) if its user gets none.
fn search_in_turn(
    request: &MinimizeRequest,
    measured: &Measured,
    io: &mut Io<'_>,
) -> Result<Searched, Failure> {
    let progress = Progress::new(request.json);
    let Measured { recipe, name, .. } = measured;
    let withheld = request.drop.unwrap_or_default();
    let most = recipe.most().map_err(|err| delegated::container_failed(name, err))?;
    let (most, all) = (most - withheld, attainable()? - withheld);
    let mut searched = search(request, name, recipe, most, io, &progress)?;
    if let (true, Some(failure)) = (most != all, searched.failure()) {
        let failure = Escaped(failure.as_bytes());
        let words = format!("With the default capabilities, {failure}. Trying all capabilities.");
        fit(&words, io.err)?;
        searched = search(request, name, recipe, all, io, &progress)?;
    }
    if let (Some(_), Some(_)) = (searched.failure(), &searched.way)
        && let Some((other, options)) = with_sysctls(recipe, &searched.found)
    {
        fit(&format!("Trying {options}, with which the capability is not required."), io.err)?;
        let again = search(request, name, &other, most, io, &progress);
        searched.sysctls = Some(options);
        // The engine may refuse the option.
        if let Ok(again) = again
            && again.failure().is_none()
            && !matches!(again.ended, Err(Stop::Failed(_)))
        {
            searched = Searched { sysctls: searched.sysctls, ..again };
        }
    }
    Ok(searched)
}

/// The values of sysctl(8) with which a container requires no capability, and that capability.
const SYSCTLS: [(Cap, &str, &str); 2] = [
    (Cap::NET_BIND_SERVICE, "net.ipv4.ip_unprivileged_port_start", "0"),
    (Cap::NET_RAW, "net.ipv4.ping_group_range", "0 2147483647"),
];

/// Returns the recipe with the values of sysctl(8) that make up for the capabilities that runs were
/// refused, and these as options.
fn with_sysctls(recipe: &Recipe, found: &Found) -> Option<(Recipe, String)> {
    let needs = found.runs.iter().flat_map(|run| &run.needs);
    let refused = needs.filter(|need| need.meaning == Meaning::Missing);
    let refused: CapSet = refused.map(|need| need.cap).collect();
    let mut options = Vec::new();
    let mut changed = recipe.clone();
    for (_, name, value) in SYSCTLS.iter().filter(|(cap, ..)| refused.contains(*cap)) {
        changed = changed.with_sysctl(name, value)?;
        options.push(format!("--sysctl {}", shell_word(&format!("{name}={value}"))));
    }
    (!options.is_empty()).then(|| (changed, options.join(" ")))
}

/// Returns the reason for a missing minimum, and for a non-root user the ways to a capability and to
/// do without one.
fn unfit_words(unfit: &Unfit, way: Option<String>, sysctls: Option<String>) -> String {
    match (unfit, way) {
        (Unfit::Fails { .. }, Some(way)) => {
            let tried = sysctls.map(|options| format!("; it does not work with {options} either"));
            format!("{unfit} ({way}{})", tried.unwrap_or_default())
        }
        _ => unfit.to_string(),
    }
}

/// Returns the way in which the user of a container gets the capabilities of the minimum, or does
/// without.
fn proof(found: &Found, way: Option<String>, sysctls: Option<String>) -> Option<String> {
    match sysctls {
        Some(options) => {
            let which = if found.minimum.is_empty() { "no" } else { "no other" };
            Some(format!("with {options}, it requires {which} capability"))
        }
        None => way.filter(|_| !found.minimum.is_empty()),
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

/// Rejects a format whose lines are about a service of Compose, and a command line that a service
/// cannot express.
fn check_format(to: Option<Format>, recipe: &Recipe) -> Result<(), Failure> {
    match (to, recipe) {
        (Some(Format::Compose), Recipe::Run(invocation)) => {
            invocation.compose(CapSet::empty())?;
            Ok(())
        }
        (Some(Format::ComposeOverride), Recipe::Service(_)) => Ok(()),
        (Some(Format::ComposeOverride), _) => Err(Mistake::new(
            "--to compose-override requires a service (--compose FILE SERVICE); --to compose does not",
        )
        .into()),
        _ => Ok(()),
    }
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

/// The result of a search.
struct Searched {
    found: Found,
    /// The reason for which the search ended without a proof.
    ended: Result<(), Stop<container::Failed>>,
    /// The way in which a user other than root gets a capability.
    way: Option<String>,
    /// Options with which such a user requires no capability.
    sysctls: Option<String>,
    recipe: Recipe,
}

impl Searched {
    /// Returns the reason for which the container does not work at all, in words.
    fn failure(&self) -> Option<String> {
        let Err(Stop::Unfit(Unfit::Fails { failures, message })) = &self.ended else { return None };
        let first = failures.first().map(|failure| failure.with_message(message));
        Some(first.unwrap_or_default())
    }
}

fn search(
    request: &MinimizeRequest,
    name: &str,
    recipe: &Recipe,
    most: CapSet,
    io: &mut Io<'_>,
    progress: &Progress,
) -> Result<Searched, Failure> {
    let setup = request.measure.judging.container();
    let interruption = progress.interruption(&request.measure.judging);
    let options = request.recording.options(true);
    let container = Container::new(recipe.clone(), most, setup, options, interruption);
    let container = container.map_err(|err| delegated::container_failed(name, err))?;
    if container.is_limited() {
        progress.set_limited();
    }
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
    let ended = minimizer.search(&mut |run| progress.show(run));
    let (found, recipe) = (minimizer.found(), recipe.clone());
    Ok(Searched { found, ended, way, sysctls: None, recipe })
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
        Recipe::Service(_) if request.write => {}
        Recipe::Service(service) => compose::lines(service, found, io)?,
        Recipe::Run(invocation) => {
            let line = invocation.with_caps(found.minimum);
            // The line is not wrapped, so that it can be pasted.
            writeln!(io.out, "\n{}", Escaped(line.as_bytes()))?;
        }
        Recipe::Manifest(manifest) => {
            let [file, name] = [manifest.file(), manifest.container()]
                .map(|text| Escaped(text.as_bytes()).to_string());
            let words = format!(
                "In {file}, replace `privileged` and `capabilities` in the securityContext of the \
                 container {name} by:"
            );
            writeln!(io.out)?;
            fit(&words, io.out)?;
            let names: Vec<_> = found.minimum.iter().filter_map(Cap::constant_name).collect();
            let names = names.iter().map(|name| format!("\"{}\"", name.trim_start_matches("CAP_")));
            let names = names.collect::<Vec<_>>().join(", ");
            writeln!(io.out, "\n    capabilities:\n      drop: [\"ALL\"]\n      add: [{names}]")?;
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
    if let (Some(Format::Compose), Recipe::Run(invocation)) = (to, recipe) {
        return settings::print("rcap minimize", &invocation.compose(found.minimum)?, io);
    }
    let mut target = Target::default();
    target.is_measured = true;
    if let Recipe::Service(service) = recipe {
        target.service = Some(service.name().to_owned());
    }
    settings::write_for("rcap minimize", to, &Settings::new(found.minimum), &target, io)
}
