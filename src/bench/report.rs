//! What a run has shown, for programs and for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::load::Loaded;
use super::measure::Latencies;
use super::options::Settings;
use super::run::Run;
use super::workload::Kind;

#[cfg(test)]
mod tests;

/// The figures of a run.
pub(super) struct Report<'a> {
    pub(super) settings: &'a Settings,
    /// What the database says that it is.
    pub(super) target_version: String,
    pub(super) loaded: Option<Loaded>,
    pub(super) run: Run,
}

impl Report<'_> {
    /// Operations a second.
    fn rate(&self) -> f64 {
        self.run.tally.done as f64 / f64::from(self.settings.seconds)
    }

    /// CPU time of this process for an operation, in microseconds.
    fn own_cpu_us(&self) -> f64 {
        self.per_operation(self.run.own_cpu.as_secs_f64())
    }

    /// CPU time of the cluster's processes for an operation, in microseconds.
    fn pids_cpu_us(&self) -> Option<f64> {
        self.run.pids_cpu.map(|used| self.per_operation(used.as_secs_f64()))
    }

    fn per_operation(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.run.tally.done.max(1) as f64
    }

    /// Everything, as one object. Latencies are in milliseconds.
    pub(super) fn json(&self) -> Value {
        let Self { settings, loaded, run, .. } = self;
        let mut all = latencies(&run.tally.all());
        let by_kind: serde_json::Map<_, _> = run
            .tally
            .by_kind()
            .iter()
            .map(|(kind, some)| (kind.name().to_owned(), latencies(some)))
            .collect();
        let errors: serde_json::Map<_, _> = run
            .tally
            .error_kinds
            .iter()
            .map(|(kind, (count, text))| (kind.clone(), json!({ "count": count, "example": text })))
            .collect();
        let rest = json!({
            "target": settings.target.name(),
            "workload": settings.workload.name(),
            "ops_per_sec": rounded(self.rate()),
            "operations": run.tally.done,
            "errors": run.tally.errors,
            "error_kinds": errors,
            "missing": run.tally.missing,
            "backlog": run.tally.backlog,
            "by_operation": by_kind,
            "bench_cpu_us_per_op": rounded(self.own_cpu_us()),
            "pids_cpu_us_per_op": self.pids_cpu_us().map(rounded),
            "load": loaded.map(|loaded| json!({
                "records": loaded.records,
                "seconds": rounded(loaded.seconds),
                "records_per_sec": rounded(loaded.records as f64 / loaded.seconds.max(1e-9)),
            })),
            "settings": settings,
            "bench_version": env!("VERSION_AND_COMMIT"),
            "target_version": self.target_version,
            "cores": std::thread::available_parallelism().map(usize::from).ok(),
        });
        if let (Value::Object(all), Value::Object(rest)) = (&mut all, rest) {
            all.extend(rest);
        }
        all
    }

    /// The same for people, in a few lines.
    pub(super) fn text(&self) -> String {
        let Self { settings, target_version, loaded, run } = self;
        let tally = &run.tally;
        let mut out = format!("{target_version}\n");
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "workload {} ({}), {} callers, {} records of {} bytes, {} s",
            settings.workload.name(),
            settings.distribution.name(),
            settings.clients,
            settings.records,
            settings.value_bytes,
            settings.seconds,
        );
        if let Some(loaded) = loaded {
            let rate = loaded.records as f64 / loaded.seconds.max(1e-9);
            let _ = writeln!(out, "loaded in {:.1} s: {rate:.0} records/s", loaded.seconds);
        }
        let _ = match settings.rate {
            None => writeln!(out, "{:.0} operations/s", self.rate()),
            Some(rate) => writeln!(out, "{:.0} operations/s of {rate:.0}", self.rate()),
        };
        out += "\nms                     count      p50      p95      p99    p99.9      max\n";
        for kind in Kind::ALL {
            if let Some(some) = tally.by_kind().get(&kind) {
                row(&mut out, kind.name(), some);
            }
        }
        if tally.by_kind().len() != 1 || tally.backlog > 0 {
            row(&mut out, "all", &tally.all());
        }
        let _ = write!(out, "\nCPU per operation: {:.1} us here", self.own_cpu_us());
        if let Some(used) = self.pids_cpu_us() {
            let _ = write!(out, ", {used:.1} us in the processes of the cluster");
        }
        out.push('\n');
        if tally.backlog > 0 {
            let _ = writeln!(out, "{} operations were due and never began", tally.backlog);
        }
        if tally.missing > 0 {
            let _ = writeln!(out, "{} reads found nothing", tally.missing);
        }
        let _ = write!(out, "errors: {}", tally.errors);
        for (kind, (count, text)) in &tally.error_kinds {
            let _ = write!(out, "\n  {count} {kind}: {text}");
        }
        out
    }
}

fn row(out: &mut String, name: &str, some: &Latencies) {
    let _ = write!(out, "{name:18} {:9}", some.count());
    for share in [0.5, 0.95, 0.99, 0.999] {
        let _ = write!(out, " {:8.3}", some.quantile_ms(share));
    }
    let _ = writeln!(out, " {:8.3}", some.max_ms());
}

fn latencies(some: &Latencies) -> Value {
    json!({
        "count": some.count(),
        "mean_ms": rounded(some.mean_ms()),
        "p50_ms": rounded(some.quantile_ms(0.5)),
        "p95_ms": rounded(some.quantile_ms(0.95)),
        "p99_ms": rounded(some.quantile_ms(0.99)),
        "p999_ms": rounded(some.quantile_ms(0.999)),
        "max_ms": rounded(some.max_ms()),
    })
}

/// To a ten-thousandth: more digits would only look exact.
fn rounded(figure: f64) -> f64 {
    (figure * 1e4).round() / 1e4
}
