//! `xdt put`, `get`, `invoke`, `delete` and `status`: the SDK's verbs, streamed from and to files.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;
use xdt::{Client, Payload, Reader, Reference};

use crate::{arguments::Task, output::Output, progress::Progress};

/// Bytes read from a file at a time.
const PIECE: usize = 256 * 1024;

/// Runs one task on a runtime of its own.
pub(crate) fn run(task: Task, timeout: Option<Duration>, output: &Output) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(done(task, timeout, output))
}

async fn done(task: Task, timeout: Option<Duration>, output: &Output) -> Result<ExitCode> {
    let mut client = Client::connect()?;
    if let Some(limit) = timeout {
        client = client.with_timeout(limit)?;
    }
    match task {
        Task::Put {
            file,
            retrievals,
            content_type,
            metadata,
            ttl,
        } => {
            let (payload, progress) = payload(file.as_deref(), output).await?;
            let mut put = client.put(payload).retrievals(retrievals);
            if let Some(content_type) = content_type {
                put = put.content_type(content_type);
            }
            if let Some(ttl) = ttl {
                put = put.ttl(ttl);
            }
            for (name, value) in metadata {
                put = put.metadata(name, value);
            }
            let reference = put.await;
            progress.end();
            let reference = reference?;
            let told = json!({
                "reference": reference.as_str(), "size": progress.so_far(), "retrievals": retrievals,
            });
            output.told(&told, reference.as_str());
        }
        Task::Get {
            reference,
            output: file,
        } => {
            get(&client, &reference, file, output).await?;
        }
        Task::Invoke {
            url,
            file,
            method,
            headers,
            content_type,
            output: target,
        } => {
            demand_file(target.as_ref(), output)?;
            let (payload, progress) = match file {
                Some(file) => payload(Some(&file), output).await?,
                None => (Payload::empty(), Progress::new(output, Some(0))),
            };
            let method = method.parse().context("--method")?;
            let mut invoke = client.invoke(url, payload).method(method);
            if let Some(limit) = timeout {
                invoke = invoke.timeout(limit);
            }
            for (name, value) in headers {
                invoke = invoke.header(name, value);
            }
            if let Some(content_type) = content_type {
                invoke = invoke.content_type(content_type);
            }
            let answer = invoke.await;
            progress.end();
            return answered(answer?, target, output).await;
        }
        Task::Delete { reference } => {
            let reference: Reference = reference.parse().map_err(xdt::Error::from)?;
            client.delete(&reference).await?;
            output.told(&json!({ "deleted": true }), "");
        }
        Task::Status => {
            let status = client.status().await?;
            output.told(&serde_json::from_str(&status.to_json())?, &lines(&status));
        }
        Task::Keys { .. } | Task::Completions { .. } => bail!("this task needs no sidecar"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(client: &Client, reference: &str, file: Option<PathBuf>, output: &Output) -> Result<()> {
    demand_file(file.as_ref(), output)?;
    let reference: Reference = reference.parse().map_err(xdt::Error::from)?;
    let reader = client.open(&reference).await?;
    let told = json!({ "content_type": reader.content_type(), "metadata": reader.metadata() });
    let size = save(reader, file, output).await?;
    output.sized(told, size);
    Ok(())
}

/// Prints or saves an answer; failing statuses are failures of the command.
async fn answered(answer: xdt::Response, target: Option<PathBuf>, output: &Output) -> Result<ExitCode> {
    let status = answer.status();
    let headers: serde_json::Map<_, _> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let told = json!({ "status": status.as_u16(), "headers": headers });
    let size = save(answer.reader(), target, output).await?;
    output.sized(told, size);
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    if !output.is_json() {
        eprintln!("xdt: the function answered {status}");
    }
    Ok(ExitCode::FAILURE)
}

/// The counts for people.
fn lines(status: &xdt::Status) -> String {
    let (objects, pool) = (&status.objects, &status.pool);
    let mut lines = vec![
        format!(
            "objects    {} held, {} of {} bytes",
            objects.held, objects.bytes, objects.bytes_limit
        ),
        format!("pool       {} of {} used", pool.used, pool.limit),
        format!("peers      {}", status.peers),
    ];
    let transfers = status.transfers.iter();
    lines.extend(
        transfers.map(|counted| format!("transfers  {} by {}: {}", counted.count, counted.path, counted.outcome)),
    );
    lines.join("\n")
}

fn demand_file(file: Option<&PathBuf>, output: &Output) -> Result<()> {
    if output.is_json() && file.is_none() {
        bail!("--json needs --output FILE here: standard output takes the JSON");
    }
    Ok(())
}

/// The bytes of a file, or of standard input, and the bar that counts them.
async fn payload(file: Option<&Path>, output: &Output) -> Result<(Payload, Progress)> {
    let (reader, size): (Pin<Box<dyn AsyncRead + Send>>, Option<u64>) = match file {
        None => (Box::pin(tokio::io::stdin()), None),
        Some(path) if path.as_os_str() == "-" => (Box::pin(tokio::io::stdin()), None),
        Some(path) => {
            let named = || path.display().to_string();
            let file = tokio::fs::File::open(path).await.with_context(named)?;
            let about = file.metadata().await.with_context(named)?;
            (Box::pin(file), about.is_file().then_some(about.len()))
        }
    };
    let progress = Progress::new(output, size);
    let counted = progress.clone();
    let pieces = ReaderStream::with_capacity(reader, PIECE)
        .inspect(move |piece| counted.moved(piece.as_ref().map_or(0, bytes::Bytes::len)));
    let payload = Payload::stream(pieces);
    let payload = match size {
        Some(size) => payload.with_length(size),
        None => payload,
    };
    Ok((payload, progress))
}

/// Writes what arrives to the file, which takes its name when it is whole, or to standard output. The number of bytes.
async fn save(mut reader: Reader, file: Option<PathBuf>, output: &Output) -> Result<u64> {
    let progress = Progress::new(output, reader.size());
    let Some(path) = file else {
        copy(&mut reader, &mut tokio::io::stdout(), &progress).await?;
        return Ok(progress.so_far());
    };
    let named = || path.display().to_string();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let part = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(named)?;
    let (file, part) = part.into_parts();
    copy(&mut reader, &mut tokio::fs::File::from_std(file), &progress).await?;
    part.persist(&path).with_context(named)?;
    Ok(progress.so_far())
}

async fn copy(reader: &mut Reader, target: &mut (impl AsyncWrite + Unpin), progress: &Progress) -> Result<()> {
    let result = async {
        while let Some(piece) = reader.chunk().await? {
            target.write_all(&piece).await.or_else(broken_pipe)?;
            progress.moved(piece.len());
        }
        target.flush().await.or_else(broken_pipe)?;
        Ok(())
    };
    let result = result.await;
    progress.end();
    result
}

/// Whoever reads our output may stop when it has enough, as `head` does.
fn broken_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Err(error)
}
