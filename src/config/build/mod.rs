//! `File` to `Settings`: what no single value shows, and every default. All faults go into one list;
//! what is built while there are some is never used.

mod limits;
mod others;
mod routes;
mod selection;
mod server;
mod shared;
mod upstreams;
mod warnings;
mod widget;

use std::path::Path;

use log::LevelFilter;

use super::fault::Faults;
use super::file::{File, LogTable, TracesTable};
use super::settings::{EnvSpec, LogSettings, Settings, TracesSettings};
use super::values::{At, Share, word};
pub use others::Others;
pub use server::ADMIN;

/// Settings, and the other files whose content belongs to them.
pub(super) struct Built {
    pub(super) settings: Settings,
    pub(super) others: Others,
}

/// `base` is the folder of the file: relative paths in it start there.
pub(super) fn build(file: &File, base: &Path, faults: &mut Faults<'_>) -> Built {
    let mut others = Others::default();
    let server = server::build(&file.server, base, &mut others, faults);
    let upstreams = upstreams::build(&file.upstreams, faults);
    let routes = routes::build(file, faults);
    let own = server.listeners.iter().map(|listener| listener.address.as_str());
    let own: Vec<_> = own
        .chain([server.admin.as_str()])
        .filter_map(|address| address.parse().ok())
        .collect();
    warnings::collect(file, &routes, &own, faults);
    let widget = widget::widget(&file.widget, faults);
    let limits = limits::limits(
        &file.limits,
        widget.member_id,
        server.grace_period,
        (base, &mut others),
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
        limits,
        upstreams,
        trusted,
    };
    Built {
        settings: Settings {
            server,
            spec,
            log: log(&file.log),
            traces: traces(&file.traces),
        },
        others,
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
