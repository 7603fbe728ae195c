//! The command line; every command is one call.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, bold, roman};
use widget_gateway::admin::client::{self, HostPort};
use widget_gateway::{config, explain, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GATEWAY_REVISION"), ")");

const SIGNALS: &str = "SIGHUP reloads the configuration. SIGTERM drains and stops, SIGINT stops now. SIGQUIT \
    hands the listeners to a successor that was started with --take-over.";
const EXIT_CODES: &str = "0 after a clean stop, and where the answer is yes; 1 where the configuration is refused, an \
    address can not be bound, or the answer is no; 2 for a command line that makes no sense; 3 where the running \
    gateway can not be reached.";

/// A reverse proxy that reads, checks, limits and normalizes Bitrix24 widget calls.
#[derive(Parser)]
#[command(version = VERSION, after_long_help = format!("Signals: {SIGNALS}\n\nExit codes: {EXIT_CODES}"))]
struct Cli {
    /// The configuration file.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "WIDGET_GATEWAY_CONFIG",
        default_value = "conf/gateway.toml"
    )]
    config: PathBuf,
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Run {
    /// Take the listeners over from the running gateway, once it gets SIGQUIT.
    #[arg(long)]
    take_over: bool,
}

#[derive(Args)]
struct Admin {
    /// Where its admin listener is, instead of what the configuration says.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<HostPort>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default).
    Run(Run),
    /// Build everything that the configuration names, print every fault, open no socket.
    Check,
    /// Take one raw HTTP request and print every decision about it, tokens redacted.
    Explain {
        /// A file with the request, or - for standard input.
        #[arg(value_name = "REQUEST-FILE", default_value = "-")]
        request: PathBuf,
    },
    /// Print the JSON Schema of the configuration file.
    Schema,
    /// Ask the running gateway to read its configuration again, print its answer.
    Reload {
        #[command(flatten)]
        admin: Admin,
        /// A file with its token, instead of admin_token_file of the configuration.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Ask the running gateway whether it is ready, print its answer.
    Health(Admin),
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, in roff.
    Man,
}

fn main() -> ExitCode {
    let Cli { config, run, command } = Cli::parse();
    if run.take_over && command.is_some() {
        let conflict = "--take-over stands behind run, or without a command";
        Cli::command().error(ErrorKind::ArgumentConflict, conflict).exit();
    }
    match command.unwrap_or(Command::Run(run)) {
        Command::Run(Run { take_over }) => run::run(&config, take_over),
        Command::Check => match config::check(&config, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        },
        Command::Explain { request } => explain_request(&config, &request),
        Command::Reload { admin, token_file } => {
            client::reload(&config, admin.admin.as_ref(), token_file.as_deref())
        }
        Command::Health(Admin { admin }) => client::health(&config, admin.as_ref()),
        Command::Schema => print(format!("{}\n", config::schema()).as_bytes()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            print(&script)
        }
        Command::Man => print(&manual()),
    }
}

/// The manual: one page for all commands.
fn manual() -> Vec<u8> {
    let mut program = Cli::command();
    program.build();
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    for command in program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        commands.control("TP", []).text([bold(command.get_name())]);
        commands.text([roman(
            command.get_about().map(ToString::to_string).unwrap_or_default(),
        )]);
        commands.control("RS", []);
        let own = |argument: &&Arg| !argument.is_global_set() && argument.get_id() != "help";
        for argument in command.get_arguments().filter(own) {
            commands.control("TP", []).text([bold(argument.to_string())]);
            commands.text([roman(
                argument.get_help().map(ToString::to_string).unwrap_or_default(),
            )]);
        }
        commands.control("RE", []);
    }
    for (title, text) in [("SIGNALS", SIGNALS), ("EXIT STATUS", EXIT_CODES)] {
        commands.control("SH", [title]).text([roman(text)]);
    }
    let page = Man::new(program);
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = page
        .render_title(&mut text)
        .and_then(|()| page.render_name_section(&mut text))
        .and_then(|()| page.render_synopsis_section(&mut text))
        .and_then(|()| page.render_options_section(&mut text))
        .and_then(|()| commands.to_writer(&mut text));
    text
}

fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
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
        Err(refused) => {
            refused.faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::from(2)
        }
    }
}
