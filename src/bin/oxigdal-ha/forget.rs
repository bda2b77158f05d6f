//! `members forget`: a member that does not come back is shown no more.

use clap::Subcommand;
use serde_json::Value;

use crate::client::{Client, doc_path};
use crate::failure::Result;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forget a member that is dead or has left, before its day is over
    #[command(after_help = AFTER)]
    Forget {
        /// Its node id, or its name if only one has it
        who: String,
    },
}

const AFTER: &str = "\
It is forgotten by this peer; the others remember it for a day, and are not heard about it. Should it come back, it is a
member as before. Who must not come back is expelled: `oxigdal-ha revoke`.";

pub(crate) fn run(client: &Client, command: &Command, output: Output) -> Result {
    let Command::Forget { who } = command;
    let says: Value = client.delete(&doc_path("/v1/members", who))?;
    if output.json {
        return output.value(&says);
    }
    output.line(format_args!("{who} is forgotten here"))
}
