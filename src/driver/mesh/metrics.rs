//! Figures for Prometheus, as text of its exposition format 0.0.4, so that a host that serves `/metrics` appends them to its own.
//!
//! Written here and not by a library: all figures are known at the moment when they are asked for, so there is nothing to register and
//! count, and what a library ends its text with does not go into the middle of a host's.

use std::fmt::{self, Write as _};

use super::Mesh;
use crate::driver::health::Health;
use crate::driver::peer::Report;
use crate::error::Error;
use crate::membership::State;
use crate::node::{Command, Level, Outcome, Replicas, ReplicationStatistics, RoleStatus};
use crate::replication::ReplicationState;

/// What stands before each name.
const PREFIX: &str = "oxigdal_ha_";

impl Mesh {
    /// The node's figures for Prometheus: names that begin with `oxigdal_ha_`, with help and type, each line ended. Durations are in
    /// seconds, sizes in bytes. It asks nobody but this node.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// let figures = mesh.metrics().await?;
    /// assert!(figures.contains("oxigdal_ha_members{state=\"alive\"} 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`](crate::ErrorKind::Leaving) when the node has stopped.
    pub async fn metrics(&self) -> Result<String, Error> {
        let (report, replicas, roles) = (self.status().await?, self.replicas().await?, self.roles().await?);
        let statistics = match self.peer().command(Command::Statistics).await? {
            Outcome::Statistics(statistics) => *statistics,
            other => unreachable!("Statistics was answered by {other:?}"),
        };
        let mut page = Page::default();
        page.health(&self.health().await);
        page.node(&report);
        page.members(&report);
        page.replication(&replicas, &statistics);
        page.roles(&roles);
        Ok(page.0)
    }
}

#[derive(Default)]
struct Page(String);

/// What a figure is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Page {
    /// One figure, with the values of all its labels.
    fn write<N: fmt::Display>(
        &mut self,
        kind: Kind,
        (name, help): (&str, &str),
        values: impl IntoIterator<Item = (Vec<(&'static str, String)>, N)>,
    ) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let text = &mut self.0;
        let mut line = |line: fmt::Arguments<'_>| writeln!(text, "{line}").expect("writing to a String cannot fail");
        line(format_args!("# HELP {PREFIX}{name} {help}"));
        line(format_args!("# TYPE {PREFIX}{name} {word}"));
        for (labels, value) in values {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            line(format_args!("{PREFIX}{name}{labels} {value}"));
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.write(Kind::Gauge, (name, help), [(Vec::new(), value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.write(Kind::Counter, (name, help), [(Vec::new(), value)]);
    }

    fn health(&mut self, health: &Health) {
        self.gauge("live", "Whether the node's loop answers.", u8::from(health.live));
        self.gauge("ready", "Whether the node serves.", u8::from(health.ready));
        let levels = [Level::Full, Level::Degraded, Level::Isolated, Level::ReadOnly];
        let level = |level: Level| (vec![("level", word(&level))], u8::from(health.level == Some(level)));
        self.write(Kind::Gauge, ("level", "What can be done at the node."), levels.map(level));
        let reasons = health.reasons.iter().map(|reason| (vec![("code", reason.code.to_owned())], 1_u8));
        let mut reasons: Vec<_> = reasons.collect();
        reasons.sort();
        reasons.dedup();
        self.write(Kind::Gauge, ("trouble", "What is not well, by code."), reasons);
    }

    fn node(&mut self, report: &Report) {
        let (node, host) = (&report.node, &report.host);
        let labels =
            vec![("node", node.node.to_string()), ("name", node.name.clone()), ("cluster", node.cluster.clone())];
        self.write(Kind::Gauge, ("node_info", "Who the node is."), [(labels, 1_u8)]);
        self.gauge("uptime_seconds", "Since the node started.", seconds(host.uptime_ms));
        self.gauge("documents", "Documents with content.", node.documents);
        self.gauge("streams", "Streams of events.", node.streams);
        self.gauge("events", "Events that are kept.", node.events);
        self.gauge("entries", "Entries of all origin logs.", node.entries);
        self.gauge("orphans", "Changes that wait for others.", node.orphans);
        self.counter("refused_total", "Changes that were refused.", node.refused);
        self.counter("sent_bytes_total", "Bytes of frames sent.", node.bytes_sent);
        self.counter("received_bytes_total", "Bytes of frames received.", node.bytes_received);
        self.gauge("logs_behind", "Origin logs of which a neighbour holds more.", node.intake.behind);
        self.gauge("loop_lag_max_seconds", "The longest that a due timer waited.", micros(host.lag_max_us));
        self.gauge("turn_max_seconds", "The longest turn of the loop.", micros(host.turn_max_us));
        self.gauge("task_max_seconds", "The longest task of a merge worker.", micros(host.task_max_us));
        self.counter("task_panics_total", "Tasks of merge workers that panicked.", host.task_panics);
        self.gauge(
            "disk_stalled_seconds",
            "For how long the disk has not answered.",
            seconds(node.disk_stalled_ms.unwrap_or(0)),
        );
        if let Some(archive) = &host.archive {
            self.gauge(
                "archive_lag_seconds",
                "What would be lost with the disk.",
                seconds(archive.lag_ms.unwrap_or(0)),
            );
            self.counter("archive_bytes_total", "Bytes shipped to the archive.", archive.bytes);
        }
    }

    fn members(&mut self, report: &Report) {
        let states = [State::Alive, State::Suspect, State::Dead, State::Left];
        let count = |state: State| {
            let of = report.node.members.iter().filter(|member| member.state == state).count();
            (vec![("state", word(&state))], of)
        };
        self.write(Kind::Gauge, ("members", "Members by state, this node included."), states.map(count));
        self.gauge("links", "Links to other nodes.", report.network.links.len());
        let coordination = &report.node.coordination.deciders;
        self.gauge("voters", "Voters that are known.", coordination.members.iter().filter(|it| it.voter).count());
        self.gauge("quorum", "Voters that a decision needs.", coordination.quorum);
        self.gauge("leader_known", "Whether somebody leads the voters.", u8::from(coordination.leader.is_some()));
        self.gauge("term", "The voters' term.", coordination.term.value());
    }

    fn replication(&mut self, replicas: &Replicas, statistics: &ReplicationStatistics) {
        let labels = |id: &crate::types::NodeId, name: &str| vec![("peer", id.to_string()), ("name", name.to_owned())];
        let each = || replicas.replicas.iter().filter(|it| it.state != ReplicationState::Failed);
        let changes = each().map(|it| (labels(&it.id, &it.name), it.lag.changes));
        self.write(Kind::Gauge, ("replica_lag_changes", "Changes that a replica is not known to hold."), changes);
        let bytes = each().map(|it| (labels(&it.id, &it.name), it.lag.bytes));
        self.write(Kind::Gauge, ("replica_lag_bytes", "The same in bytes."), bytes);
        let time = each().map(|it| (labels(&it.id, &it.name), seconds(it.lag.lag_ms)));
        self.write(Kind::Gauge, ("replica_lag_seconds", "How long it has lacked the oldest of them."), time);
        let totals = &statistics.totals;
        self.counter("pushed_entries_total", "Entries sent.", totals.pushed);
        self.counter("pushed_bytes_total", "Their bytes before compression.", totals.pushed_bytes);
        self.counter("taken_entries_total", "Entries taken from others.", totals.taken);
        self.counter("taken_bytes_total", "Their bytes.", totals.taken_bytes);
        self.counter("duplicate_entries_total", "Entries that arrived again.", totals.duplicates);
        self.counter("retransmits_total", "Batches sent again.", totals.retransmits);
        self.counter("peer_faults_total", "Messages that no correct node sends.", totals.faults);
    }

    fn roles(&mut self, roles: &[RoleStatus]) {
        let label = |role: &RoleStatus| vec![("role", role.role.as_str().to_owned())];
        let acts = roles.iter().map(|role| (label(role), u8::from(role.acts)));
        self.write(Kind::Gauge, ("role_acts", "Whether this node acts in a role."), acts);
        let held = roles.iter().map(|role| (label(role), u8::from(role.holder.is_some())));
        self.write(Kind::Gauge, ("role_held", "Whether anybody holds a role."), held);
        let token = roles.iter().map(|role| (label(role), role.token.index.value()));
        self.write(Kind::Gauge, ("role_token_index", "The place of the grant among all decisions."), token);
        let failovers = roles.iter().map(|role| (label(role), role.statistics.count));
        self.write(Kind::Counter, ("failovers_total", "Failovers of a role."), failovers);
        let last = roles.iter().map(|role| (label(role), micros(role.statistics.last_us)));
        self.write(Kind::Gauge, ("failover_last_seconds", "How long the last one took."), last);
    }
}

/// As it is written in answers of the HTTP interface.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// A label's value may hold anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Milliseconds as seconds, exactly.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// Microseconds as seconds, exactly.
fn micros(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_help_its_type_and_labels_that_hold_anything() {
        let mut page = Page::default();
        page.write(Kind::Gauge, ("x", "Some."), [(vec![("name", "a\"b\\c\nd".to_owned())], 7), (Vec::new(), 8)]);
        page.counter("y_seconds_total", "Time.", micros(1_000_020));
        let expected = "# HELP oxigdal_ha_x Some.\n# TYPE oxigdal_ha_x gauge\noxigdal_ha_x{name=\"a\\\"b\\\\c\\nd\"} 7\noxigdal_ha_x 8\n\
                        # HELP oxigdal_ha_y_seconds_total Time.\n# TYPE oxigdal_ha_y_seconds_total counter\noxigdal_ha_y_seconds_total 1.000020\n";
        assert_eq!(page.0, expected);
    }
}
