//! How the node is: at once, and when that changes.

use std::fmt;
use std::time::Duration;

use super::Mesh;
use crate::driver::health::Health;
use crate::driver::peer::{Link, Phase};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

impl Mesh {
    /// How the node is. It is asked itself, which takes ten seconds where its loop does not answer.
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
    /// let health = mesh.health().await;
    /// let status = if health.ready { 200 } else { 503 };
    /// println!("{status}: {:?}", health.reasons);
    /// assert!(health.live);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn health(&self) -> Health {
        self.link().health().await
    }

    /// How the node is, and when that changes. It is looked once a second, while somebody waits.
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
    /// let mut health = mesh.watch_health();
    /// assert!(health.changed().await.is_some_and(|health| health.live));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch_health(&self) -> HealthWatch {
        HealthWatch { link: self.link().clone(), last: None, ended: false }
    }
}

/// See [`Mesh::watch_health`]. It does not keep the node running.
pub struct HealthWatch {
    link: Link,
    last: Option<Health>,
    ended: bool,
}

impl HealthWatch {
    /// At once how it is; then when it is another way, words of reasons aside. That it has stopped is the last that is told.
    pub async fn changed(&mut self) -> Option<Health> {
        if self.ended {
            return None;
        }
        loop {
            let health = self.link.health().await;
            let is_new = self.last.as_ref().is_none_or(|last| differs(last, &health));
            if is_new {
                self.ended = self.link.phase() == Phase::Stopped;
                self.last = Some(health.clone());
                return Some(health);
            }
            let mut phase = self.link.phase.clone();
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                // An error means that the loop has gone, which is the same.
                _ = phase.wait_for(|phase| *phase == Phase::Stopped) => {}
            }
        }
    }
}

/// Figures in sentences change all the time.
fn differs(one: &Health, other: &Health) -> bool {
    let kinds = |health: &Health| {
        let codes: Vec<_> = health.reasons.iter().map(|reason| reason.code).collect();
        (health.live, health.ready, health.level, codes)
    };
    kinds(one) != kinds(other)
}

impl fmt::Debug for HealthWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthWatch").field("last", &self.last).finish_non_exhaustive()
    }
}
