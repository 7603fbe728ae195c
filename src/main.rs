//! The command line; every command is one call.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use widget_gateway::{admin, config, explain, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A reverse proxy that reads, checks, limits and normalizes Bitrix24 widget calls.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args, Clone)]
struct Config {
    /// The configuration file.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "WIDGET_GATEWAY_CONFIG",
        default_value = "conf/gateway.toml"
    )]
    config: PathBuf,
}

#[derive(Args, Clone)]
struct Run {
    #[command(flatten)]
    config: Config,
    /// Take the listeners over from the running gateway, once it gets SIGQUIT.
    #[arg(long)]
    take_over: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default).
    Run(Run),
    /// Build everything that the configuration names, print every fault, open no socket.
    Check(Config),
    /// Take one raw HTTP request and print every decision about it, tokens redacted.
    Explain {
        #[command(flatten)]
        config: Config,
        /// A file with the request, or - for standard input.
        #[arg(value_name = "REQUEST-FILE", default_value = "-")]
        request: PathBuf,
    },
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Ask the running gateway to read its configuration again, print its answer.
    Reload {
        /// Where its admin listener is.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
        admin: SocketAddr,
        /// The content of its admin_token_file, where the gateway is not on this host.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(Run {
            config: Config { config },
            take_over,
        }) => run::run(&config, take_over),
        Command::Check(Config { config: path }) => match config::check(&path, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        Command::Explain { config, request } => explain_request(&config.config, &request),
        Command::Reload { admin, token_file } => admin::client::reload(admin, token_file.as_deref()),
        Command::Schema => {
            println!("{}", config::schema());
            ExitCode::SUCCESS
        }
    }
}

fn explain_request(config: &Path, request: &Path) -> ExitCode {
    let mut raw = Vec::new();
    let read = match request.as_os_str() == "-" {
        true => std::io::stdin().read_to_end(&mut raw).map(|_| ()),
        false => std::fs::read(request).map(|content| raw = content),
    };
    if let Err(e) = read {
        eprintln!("{}: {e}", request.display());
        return ExitCode::from(2);
    }
    match config::read(config) {
        Ok(loaded) => match explain::explain(loaded, &raw, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::from(2)
        }
    }
}
