//! `metrics-server webhooks`: checks the rules of webhooks, and sends test deliveries.

use std::error::Error;
use std::io::{self, Write as _};

use chrono::Utc;

use crate::binary::config::WebhooksCommand;
use crate::webhooks::Webhooks;

/// Runs a command on the rules of the settings, and prints its result.
///
/// # Errors
///
/// There are no rules, no such rule, or the receiver did not accept the delivery.
pub(super) async fn run(
    webhooks: Option<&Webhooks>,
    command: &WebhooksCommand,
) -> Result<(), Box<dyn Error>> {
    let webhooks = webhooks.ok_or("METRICS_WEBHOOKS is not set: it must be a file of rules")?;
    match command {
        WebhooksCommand::Check => {
            webhooks.lines().try_for_each(|line| writeln!(io::stdout(), "{line}"))?;
        }
        WebhooksCommand::Try(name) => {
            let tried = webhooks.try_rule(name, Utc::now()).await?;
            let (receiver, status, text) = (tried.receiver, tried.status, tried.text);
            writeln!(
                io::stdout(),
                "{}",
                format!("{receiver} answered {status} {text}").trim_end()
            )?;
        }
    }
    Ok(())
}
