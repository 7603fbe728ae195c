//! The command line; every command is one call.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use widget_gateway::{config, server};

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
    /// Print the JSON Schema of the configuration file.
    Schema,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(Run {
            config: Config { config },
            take_over,
        }) => server::run(&config, take_over),
        Command::Check(Config { config: path }) => match config::check(&path, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        Command::Schema => {
            println!("{}", config::schema());
            ExitCode::SUCCESS
        }
    }
}
