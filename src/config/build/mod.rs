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

use log::LevelFilter;

use super::fault::Faults;
use super::file::{File, LogTable, TracesTable};
use super::settings::{EnvSpec, LogSettings, Settings, TracesSettings};
use super::values::given_or;
pub use others::Others;
pub use server::ADMIN;

/// The files that it names are added to `others`.
pub(super) fn build(file: &File, others: &mut Others, faults: &mut Faults<'_>) -> Settings {
    let server = server::build(&file.server, others, faults);
    let upstreams = upstreams::build(&file.upstreams, others, faults);
    let routes = routes::build(file, faults);
    let own = server.listeners.iter().map(|listener| listener.address.as_str());
    let own: Vec<_> = own
        .chain([server.admin.as_str()])
        .filter_map(|address| address.parse().ok())
        .collect();
    warnings::collect(file, &routes, &own, faults);
    let widget = widget::widget(&file.widget, others, faults);
    let shape = widget.member_id;
    let spec = EnvSpec {
        routes,
        widget,
        verify: verify::build(file.verify.as_ref(), shape, others, faults),
        limits: limits::limits(&file.limits, shape, server.grace_period, others, faults),
        upstreams,
        trusted: server::networks(&file.trusted_proxies),
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
        level: given_or(&table.level, LevelFilter::Info),
        sample_forwarded: given_or(&table.sample_forwarded, 1.0),
        sample_refused: given_or(&table.sample_refused, 1.0),
    }
}

fn traces(table: &TracesTable) -> TracesSettings {
    TracesSettings {
        endpoint: table.endpoint.as_ref().map(|endpoint| endpoint.value.clone()),
        sample: given_or(&table.sample, 0.01),
    }
}
