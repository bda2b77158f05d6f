//! The command line: arguments in, output and an exit code out. What a peer does is the library's.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the command line is a host: it reads clocks and starts threads"
)]

mod args;
mod backup;
mod client;
mod configuration;
mod conflicts;
mod decisions;
mod demo;
mod doc;
mod failure;
mod forget;
mod health;
mod inspect;
mod invite;
mod issuer;
mod key;
mod mesh;
mod output;
mod overlay;
mod patience;
mod quarantine;
mod rebuild;
mod recorded;
mod recoveries;
mod redirect;
mod replication;
mod restore;
mod restore_point;
mod revert;
mod roles;
mod run;
mod simulate;
mod snapshot;
mod standby;
mod stream;
mod timeline;
mod topology;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Arguments, Command};
use failure::{Code, Failure, Result};
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error),
    };
    let output = Output::new(arguments.json, arguments.color);
    match dispatch(arguments.command, output) {
        Ok(code) => code,
        Err(failure) => failure.report(output.json, output::wants_colour(arguments.color, io::stderr().is_terminal())),
    }
}

/// Help was asked for, or the arguments cannot be used. The codes of `simulate` up to 5 say something of its runs.
fn misused(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when standard error is closed too.
    let _ = error.print();
    let commands = Arguments::command();
    let is_command = |word: &String| commands.get_subcommands().any(|command| command.get_name() == word);
    let code = match std::env::args().skip(1).find(is_command) {
        _ if !error.use_stderr() => return ExitCode::SUCCESS,
        Some(command) if command == "simulate" => Code::SimulateUsage,
        Some(_) | None => Code::Usage,
    };
    ExitCode::from(code as u8)
}

fn dispatch(command: Command, output: Output) -> Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::demo(&arguments, output),
        Command::Run(arguments) => run::run(&arguments, output),
        Command::Members(arguments) => mesh::members(&arguments, output),
        Command::Status(arguments) => return mesh::status(&arguments, output),
        Command::Lag(arguments) => replication::lag(&arguments, output),
        Command::Peer(arguments) => replication::peer(&arguments, output),
        Command::Statistics(arguments) => replication::statistics(&arguments, output),
        Command::Doc(arguments) => doc::doc(arguments, output),
        Command::Stream(arguments) => stream::stream(arguments, output),
        Command::Key(arguments) => key::key(arguments, output),
        Command::Invite(arguments) => invite::invite(arguments, output),
        Command::Revoke(arguments) => invite::revoke(&arguments, output),
        Command::Overlay(arguments) => overlay::overlay(&arguments, output),
        Command::Conflicts(arguments) => conflicts::conflicts(arguments, output),
        Command::Quarantine(arguments) => quarantine::quarantine(arguments, output),
        Command::Leader(arguments) => decisions::leader(&arguments, output),
        Command::Voters(arguments) => decisions::voters(&arguments, output),
        Command::Role(arguments) => roles::role(&arguments, output),
        Command::Actions(arguments) => decisions::actions(&arguments, output),
        Command::RestorePoint(arguments) => restore_point::run(&arguments, output),
        Command::Snapshot(arguments) => snapshot::run(&arguments, output),
        Command::Backup(arguments) => return backup::run(*arguments, output),
        Command::Restore(arguments) => restore::run(&arguments, output),
        Command::Rebuild(arguments) => rebuild::run(&arguments, output),
        Command::Standby(arguments) => standby::run(&arguments, output),
        Command::Recoveries(arguments) => recoveries::run(&arguments, output),
        Command::Timeline(arguments) => timeline::run(&arguments, output),
        Command::Revert(arguments) => revert::run(&arguments, output),
        Command::Log(command) => return inspect::run(&command, output),
        Command::Redirect(arguments) => redirect::run(&arguments, output),
        Command::Config(command) => configuration::config(command, output),
        Command::Topology(command) => topology::topology(command, output),
        Command::Simulate(arguments) => return simulate::run(arguments, output).map_err(Failure::of_simulate),
        Command::Completions(arguments) => completions(&arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn completions(arguments: &args::Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "oxigdal-ha", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
