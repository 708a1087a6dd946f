//! `xdt-trace`: collects spans, shows traces, divides their time among stages.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::{net::TcpListener, signal};
use xdt_trace::{
    Span, Store,
    critical::{self, Breakdown, Rule},
    server, store, waterfall,
};

/// A small trace collector.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes Zipkin v2 and OTLP/HTTP until Ctrl-C; then says what came in.
    Serve {
        /// Where to listen; Zipkin's own port.
        #[arg(long, default_value = "127.0.0.1:9411")]
        listen: SocketAddr,
        /// File that spans are appended to, one JSON object a line.
        #[arg(long, default_value = "spans.ndjson")]
        spans: PathBuf,
    },
    /// Divides every trace of a file among stages, as `breakdown.csv` on the standard output.
    Breakdown {
        /// A file that `serve` wrote.
        spans: PathBuf,
        /// First column of the rows.
        #[arg(long, default_value = "")]
        run_id: String,
        /// Second column.
        #[arg(long, default_value = "microbenchmark")]
        workload: String,
        /// Third column.
        #[arg(long, default_value = "")]
        backend: String,
        /// JSON list of rules (`name`, `service`, `stage`) instead of those of the microbenchmarks.
        #[arg(long)]
        rules: Option<PathBuf>,
    },
    /// The page of one trace of a file, on the standard output.
    Waterfall {
        /// A file that `serve` wrote.
        spans: PathBuf,
        /// Its trace; the first one, unless said.
        #[arg(long)]
        trace: Option<String>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Args::parse().command {
        Command::Serve { listen, spans } => serve(listen, &spans).await,
        Command::Breakdown {
            spans,
            run_id,
            workload,
            backend,
            rules,
        } => breakdown(&traces(&spans)?, [&run_id, &workload, &backend], rules),
        Command::Waterfall { spans, trace } => {
            let traces = traces(&spans)?;
            let wanted = |(id, _): &(&String, &Vec<Span>)| trace.as_ref().is_none_or(|trace| trace == *id);
            let (_, spans) = traces.iter().find(wanted).context("there is no such trace")?;
            println!("{}", waterfall::page(spans)?);
            Ok(())
        }
    }
}

async fn serve(listen: SocketAddr, spans: &std::path::Path) -> Result<()> {
    let store = Arc::new(Store::open(spans)?);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = async {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate()).ok();
        tokio::select! {
            _ = signal::ctrl_c() => {}
            Some(_) = async { terminate.as_mut()?.recv().await } => {}
        }
    };
    axum::serve(listener, server::routes(Arc::clone(&store)))
        .with_graceful_shutdown(stop)
        .await?;
    println!("{}", serde_json::to_string(&store.counts())?);
    Ok(())
}

fn traces(spans: &std::path::Path) -> Result<BTreeMap<String, Vec<Span>>> {
    let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in store::read(spans)? {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    for spans in traces.values_mut() {
        spans.sort_by_key(Span::start_ns);
    }
    Ok(traces)
}

/// Header of `breakdown.csv` (contract, part F).
const HEADER: [&str; 9] = [
    "run_id",
    "workload",
    "backend",
    "trace_id",
    "stage",
    "start_ns",
    "duration_ns",
    "bytes",
    "on_critical_path",
];

fn breakdown(traces: &BTreeMap<String, Vec<Span>>, names: [&str; 3], rules: Option<PathBuf>) -> Result<()> {
    let rules: Vec<Rule> = match rules {
        Some(path) => {
            serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?
        }
        None => critical::microbenchmark(),
    };
    let mut writer = csv::Writer::from_writer(std::io::stdout().lock());
    writer.write_record(HEADER)?;
    for (id, trace) in traces {
        let Ok(pieces) = critical::path(trace) else {
            eprintln!("trace {id} has no single root and is left out");
            continue;
        };
        for piece in pieces {
            let span = &trace[piece.span];
            let (start, duration) = (piece.start_ns.to_string(), piece.duration_ns.to_string());
            let bytes = span.tags.get("size").map_or("", String::as_str);
            let stage = critical::stage(span, &rules);
            writer.write_record([
                names[0], names[1], names[2], id, stage, &start, &duration, bytes, "true",
            ])?;
        }
        let whole = Breakdown::of(trace, &rules)?;
        if whole.is_badly_instrumented() {
            eprintln!(
                "trace {id}: more than 5 % of its time has no stage (path: {})",
                whole.path.join(" > ")
            );
        }
    }
    Ok(writer.flush()?)
}
