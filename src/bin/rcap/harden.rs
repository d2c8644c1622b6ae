//! `rcap harden`: finds the protections of systemd with which a service works, by restarting it.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use rcap::{
    CapSet,
    service::{
        DropIn, Exposure, Facts, Failed, Hardened, Protections, Service, Session, Tried, exposure,
        harden,
    },
    tools::{
        Mistake,
        table::{fit, set_words},
    },
    trace::minimize::{End, Found, Minimizer, Stop},
};
use serde_json::{Value, json};

use super::{
    Escaped, Exit, Io,
    args::HardenRequest,
    failure::Failure,
    progress::Progress,
    service::{Unit, failed, open, undo, write},
};

/// The version of the layout of `--json`.
const SCHEMA: u32 = 1;

/// The reason for which a search has ended without a result.
enum Ended {
    Interrupted,
    Failed(Failed),
}

/// The result, and the drop-in file with it.
struct Answer {
    id: String,
    caps: CapSet,
    hardened: Hardened,
    runs: usize,
    drop_in: DropIn,
    text: String,
    is_written: bool,
    /// The exposure before and after, if systemd-analyze(1) can tell.
    exposure: [Option<Exposure>; 2],
}

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &HardenRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let name = &*request.unit;
    let Some(unit) = Unit::of(&request.service(), &[])? else {
        return Err(Mistake::new("no unit").into());
    };
    if request.undo {
        return undo(&unit, request.yes, io);
    }
    let failed = |err| failed(name, err);
    let say = ["rcap harden", "Hardening"];
    let session = open(request.yes, &unit, request.conditions(), say, io)?;
    let id = session.before().id().to_owned();
    let now = Protections::of(session.before()).map_err(failed)?;
    let facts = session.before().clone();
    let before = exposed(&facts, io)?;
    let progress = Progress::new(request.json);
    let Some((found, caps, mut session)) = capabilities(request, session, &progress)? else {
        return Ok(Exit::INTERRUPTED);
    };
    let limit = request.timeout.unwrap_or_else(|| limit(request, &found));
    let hardened = match search(request, &now, &caps, &mut session, limit, &progress) {
        Ok(hardened) => hardened,
        Err(Ended::Failed(err)) => return Err(failed(err)),
        Err(Ended::Interrupted) => return Ok(Exit::INTERRUPTED),
    };
    if let Some(failure) = hardened.failure {
        let words = "it worked with the result, and did not when that was repeated";
        return Err(Failure::No(format!("{words}: {failure}")));
    }
    // systemd still has the settings of the last run, which are those of the result.
    let after = exposed(&facts, io)?;
    let drop_in = DropIn::new(&facts, DropIn::FILE).map_err(failed)?;
    let settings = drop_in.with_kept(&[&caps[..], &hardened.settings].concat()).map_err(failed)?;
    if request.write {
        write(session, &settings, request.expect, Some(limit), name)?;
    } else {
        session.restore().map_err(failed)?;
    }
    let answer = Answer {
        id,
        caps: found.minimum,
        runs: found.runs.len() + hardened.runs as usize,
        hardened,
        drop_in,
        text: DropIn::text(&settings).map_err(failed)?,
        is_written: request.write,
        exposure: [before, after],
    };
    if request.json {
        writeln!(io.out, "{}", to_json(&answer))?;
    } else {
        print(&answer, io)?;
    }
    Ok(Exit::SUCCESS)
}

/// Finds the smallest set of capabilities, and returns the settings with it. Returns `None` if the
/// search was interrupted; the unit is restored then.
fn capabilities(
    request: &HardenRequest,
    session: Session,
    progress: &Progress,
) -> Result<Option<(Found, Vec<String>, Session)>, Failure> {
    let failed = |err| failed(&request.unit, err);
    let is_recorded = session.is_recorded();
    let mut service = Service::new(session).map_err(failed)?;
    let mut plan = request.plan(service.most());
    if !is_recorded {
        plan.unseen = service.most();
    }
    let mut minimizer = Minimizer::new(plan, &mut service);
    let ended = minimizer.search(&mut |run| progress.show(run));
    let found = minimizer.found();
    match ended {
        Err(Stop::Failed(err)) => Err(failed(err)),
        Err(Stop::Unfit(unfit)) => Err(Failure::No(unfit.to_string())),
        Err(_) => Ok(None),
        Ok(()) => {
            let settings = service.settings(found.minimum);
            Ok(Some((found, settings, service.into_session())))
        }
    }
}

/// Returns the time limit of a run. Only the time before the check has succeeded can be longer.
fn limit(request: &HardenRequest, found: &Found) -> Duration {
    let baseline = found.runs.iter().filter(|run| run.is_baseline);
    let longest = baseline.map(|run| run.time).max().unwrap_or_default();
    let until = longest.saturating_sub(request.settle).saturating_mul(10);
    until.saturating_add(request.settle).saturating_add(Duration::from_secs(5))
}

/// Searches for the protections by restarting the unit.
fn search(
    request: &HardenRequest,
    now: &Protections,
    caps: &[String],
    session: &mut Session,
    limit: Duration,
    progress: &Progress,
) -> Result<Hardened, Ended> {
    harden(now, |lines| {
        let settings = [caps, lines].concat();
        let begun = Instant::now();
        let seen = session.run(&settings, Some(limit)).map_err(Ended::Failed)?;
        if seen.end == End::Interrupted {
            return Err(Ended::Interrupted);
        }
        let tried = Tried::of(&seen, session.refused_writes(), request.expect.into());
        let verdict = Escaped(tried.failure.as_deref().unwrap_or("passed").as_bytes());
        progress.add(begun.elapsed(), &format!("with {} lines: {verdict}", lines.len()));
        Ok(tried)
    })
}

/// Returns the exposure of the unit, which systemd-analyze(1) may not be there to tell.
fn exposed(unit: &Facts, io: &mut Io<'_>) -> Result<Option<Exposure>, Failure> {
    match exposure(unit) {
        Ok(exposure) => Ok(Some(exposure)),
        Err(err) => {
            io.complain_in_words("rcap harden", &format!("the exposure is not known: {err}"))?;
            Ok(None)
        }
    }
}

fn print(answer: &Answer, io: &mut Io<'_>) -> Result<(), Failure> {
    let path = answer.drop_in.path().display().to_string();
    let hardened = &answer.hardened;
    fit(&format!("Protections: {}", hardened.protections.len()), io.out)?;
    fit(&format!("Capabilities: {}", set_words(answer.caps)), io.out)?;
    if let [Some(before), Some(after)] = &answer.exposure {
        let words = |one: &Exposure| format!("{:.1} {}", one.score, one.level);
        fit(&format!("Exposure: {} before, {} after", words(before), words(after)), io.out)?;
    }
    writeln!(io.out)?;
    for left in &hardened.left_out {
        let failure = Escaped(left.failure.as_bytes());
        let instead = match &left.instead {
            Some(value) => format!(", so {value} instead"),
            None => String::new(),
        };
        fit(&format!("{}={}: left out{instead}: {failure}", left.key, left.value), io.out)?;
    }
    if !hardened.left_out.is_empty() {
        writeln!(io.out)?;
    }
    fit(&format!("{} runs.", answer.runs), io.out)?;
    let done = if answer.is_written { " (written)" } else { "" };
    // The lines are not wrapped, so that they can be pasted.
    write!(io.out, "\n# {}{done}\n{}", Escaped(path.as_bytes()), answer.text)?;
    Ok(())
}

fn to_json(answer: &Answer) -> Value {
    let hardened = &answer.hardened;
    let protections = hardened.protections.iter();
    let left_out = hardened.left_out.iter().map(|left| {
        json!({
            "setting": left.key,
            "value": left.value,
            "instead": left.instead,
            "failure": left.failure,
        })
    });
    let exposure = answer
        .exposure
        .each_ref()
        .map(|one| one.as_ref().map(|one| json!({ "score": one.score, "level": one.level })));
    let [before, after] = exposure;
    json!({
        "schema": SCHEMA,
        "unit": {
            "name": answer.id,
            "path": answer.drop_in.path().display().to_string(),
            "text": answer.text,
            "written": answer.is_written,
        },
        "minimum": answer.caps,
        "protections": protections
            .map(|(key, value)| json!({ "setting": key, "value": value }))
            .collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "exposure": { "before": before, "after": after },
        "runs": answer.runs,
    })
}
