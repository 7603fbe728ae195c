//! `File` to `Settings`: what no single value shows, and every default. All faults go into one list;
//! what is built while there are some is never used.

mod limits;
mod others;
mod routes;
mod secure;
mod selection;
mod server;
mod shared;
mod upstreams;
mod verify;
mod warnings;
mod widget;
mod widget_route;

use std::path::Path;

use log::LevelFilter;

use super::fault::Faults;
use super::file::{File, LogTable, TracesTable};
use super::settings::{EnvSpec, LogSettings, Settings, TracesSettings};
use super::values::{At, Share, word};
pub use others::Others;
pub use server::ADMIN;

/// `base` is the folder of the file: relative paths in it start there. The files that are read there are added
/// to `others`.
pub(super) fn build(file: &File, base: &Path, others: &mut Others, faults: &mut Faults<'_>) -> Settings {
    let server = server::build(&file.server, base, others, faults);
    let upstreams = upstreams::build(&file.upstreams, base, others, faults);
    let routes = routes::build(file, faults);
    let own = server.listeners.iter().map(|listener| listener.address.as_str());
    let own: Vec<_> = own
        .chain([server.admin.as_str()])
        .filter_map(|address| address.parse().ok())
        .collect();
    warnings::collect(file, &routes, &own, faults);
    let widget = widget::widget(&file.widget, base, others, faults);
    let verify = verify::build(file.verify.as_ref(), widget.member_id, base, others, faults);
    let limits = limits::limits(
        &file.limits,
        widget.member_id,
        server.grace_period,
        (base, others),
        faults,
    );
    let trusted = file
        .trusted_proxies
        .iter()
        .flatten()
        .map(|network| network.value.0)
        .collect();
    let spec = EnvSpec {
        routes,
        widget,
        verify,
        limits,
        upstreams,
        trusted,
    };
    Settings {
        server,
        spec,
        log: log(&file.log),
        traces: traces(&file.traces),
    }
}

fn log(table: &LogTable) -> LogSettings {
    LogSettings {
        level: word(&table.level, LevelFilter::Info),
        sample_forwarded: share(&table.sample_forwarded, 1.0),
        sample_refused: share(&table.sample_refused, 1.0),
    }
}

fn traces(table: &TracesTable) -> TracesSettings {
    TracesSettings {
        endpoint: table.endpoint.as_ref().map(|endpoint| endpoint.value.0.clone()),
        sample: share(&table.sample, 0.01),
    }
}

fn share(given: &Option<At<Share>>, default: f64) -> f64 {
    given.as_ref().map_or(default, |share| share.value.0)
}
