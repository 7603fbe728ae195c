//! A connection to a store, by the `redis` crate.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsMode, Value,
};

use super::address::{Node, StoreAddress, StorePlace};
use super::fault::StoreFault;
use super::script::{Charge, Charged, SCRIPT};

/// Redirects that one question may follow in a cluster; its time limit holds for all together.
const REDIRECTS: u32 = 2;

/// A connection that many questions use at once: what is asked while others are on their way goes out with them.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Server(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

/// Connects. Names are looked up and sentinels asked each time, so that a failover is followed.
pub(super) async fn open(address: &StoreAddress, answer: Duration) -> Result<Connection, StoreFault> {
    connect(address, answer).await.map_err(|e| fault_of(&e))
}

async fn connect(address: &StoreAddress, answer: Duration) -> Result<Connection, RedisError> {
    // Whoever asks has a time limit of its own, from the moment it asks.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let node = |node: &Node| info(addr(node, address.is_tls), settings(address));
    let server = async |info: ConnectionInfo| {
        let client = Client::open(info)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Connection::Server(connection.await?))
    };
    match &address.place {
        StorePlace::Server(at) => server(node(at)?).await,
        StorePlace::Unix(path) => server(info(ConnectionAddr::Unix(path.into()), settings(address))?).await,
        StorePlace::Sentinel(nodes, master) => {
            let sentinels = nodes.iter().map(|node| addr(node, address.is_tls)).collect();
            let mut of_master =
                SentinelNodeConnectionInfo::default().set_redis_connection_info(settings(address));
            if address.is_tls {
                of_master = of_master.set_tls_mode(TlsMode::Secure);
            }
            let mut client = SentinelClient::build(
                sentinels,
                master.clone(),
                Some(of_master),
                SentinelServerType::Master,
            )?;
            let connection = client.get_async_connection_with_config(&config);
            Ok(Connection::Server(connection.await?))
        }
        StorePlace::Cluster(nodes) => {
            // User, password and TLS of the others are those of the first.
            let nodes: Vec<_> = nodes.iter().map(node).collect::<Result<_, _>>()?;
            let client = ClusterClientBuilder::new(nodes)
                .retries(REDIRECTS)
                .response_timeout(answer)
                .build()?;
            Ok(Connection::Cluster(client.get_async_connection().await?))
        }
    }
}

fn info(at: ConnectionAddr, settings: RedisConnectionInfo) -> Result<ConnectionInfo, RedisError> {
    Ok(at.into_connection_info()?.set_redis_settings(settings))
}

fn settings(address: &StoreAddress) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(address.db);
    if let Some(user) = &address.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    settings
}

fn addr(node: &Node, is_tls: bool) -> ConnectionAddr {
    let Node { host, port } = node;
    match is_tls {
        false => ConnectionAddr::Tcp(host.clone(), *port),
        true => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
    }
}

impl Connection {
    /// What may go out together: a cluster has keys on several nodes, and each question finds its own.
    pub(super) fn together<T>(&self, asks: Vec<T>) -> Vec<Vec<T>> {
        match self {
            Connection::Server(_) => vec![asks],
            Connection::Cluster(_) => asks.into_iter().map(|ask| vec![ask]).collect(),
        }
    }

    /// Runs the script over one key.
    pub(super) async fn charge(&self, name: &str, charge: &Charge) -> Result<Charged, StoreFault> {
        let mut answers = self.charge_all([(name, charge)].into_iter()).await;
        answers.pop().unwrap_or(Err(StoreFault::Answer))
    }

    /// Runs the script over each of the keys, which may go out together; as many answers, in their order. A server
    /// that does not know the script yet is sent its text.
    pub(super) async fn charge_all<'a>(
        &self,
        asked: impl ExactSizeIterator<Item = (&'a str, &'a Charge)> + Clone,
    ) -> Vec<Result<Charged, StoreFault>> {
        let known = asked
            .clone()
            .map(|(name, charge)| run("EVALSHA", hash_of_script(), name, charge));
        let mut answers = self.query(known).await;
        for (answer, (name, charge)) in answers.iter_mut().zip(asked.clone()) {
            if let Err(e) = answer
                && e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
            {
                let of_text = self
                    .query(std::iter::once(run("EVAL", SCRIPT, name, charge)))
                    .await;
                *answer = of_text.into_iter().next().unwrap_or_else(|| Err(nothing()));
            }
        }
        let charged = |(answer, (_, charge)): (Result<Numbers, RedisError>, (_, &Charge))| {
            let (granted, wait, full_in) = answer.map_err(|e| fault_of(&e))?;
            charge
                .answered([granted, wait, full_in])
                .ok_or(StoreFault::Answer)
        };
        answers.into_iter().zip(asked).map(charged).collect()
    }

    /// As many answers as there are commands.
    async fn query(&self, mut cmds: impl ExactSizeIterator<Item = Cmd>) -> Vec<Result<Numbers, RedisError>> {
        let count = cmds.len();
        let said = match cmds.next() {
            Some(only) if count == 1 => match self.clone() {
                Connection::Server(mut connection) => vec![only.query_async(&mut connection).await],
                Connection::Cluster(mut connection) => vec![only.query_async(&mut connection).await],
            },
            first => {
                let mut pipeline = redis::Pipeline::with_capacity(count);
                pipeline.ignore_errors();
                first
                    .into_iter()
                    .chain(cmds)
                    .for_each(|cmd| _ = pipeline.add_command(cmd));
                let said = match self.clone() {
                    Connection::Server(mut connection) => pipeline.query_async(&mut connection).await,
                    Connection::Cluster(mut connection) => pipeline.query_async(&mut connection).await,
                };
                said.unwrap_or_else(|e: RedisError| vec![Err(e); count])
            }
        };
        let numbers = |said: Result<Value, RedisError>| Ok(redis::from_redis_value(said?)?);
        let mut answers: Vec<_> = said.into_iter().map(numbers).collect();
        answers.resize_with(count, || Err(nothing()));
        answers
    }
}

/// What the script answers.
type Numbers = (i64, i64, i64);

fn nothing() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "no answer").into()
}

fn run(command: &str, script: &str, name: &str, charge: &Charge) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg(command)
        .arg(script)
        .arg(1)
        .arg(name)
        .arg(charge.cell_micros())
        .arg(charge.quota.burst.get())
        .arg(charge.owed)
        .arg(charge.wanted);
    cmd
}

fn hash_of_script() -> &'static str {
    static HASH: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| redis::Script::new(SCRIPT).get_hash().to_owned());
    &HASH
}

/// What an error of the crate means. Its text is not used: addresses and names of keys stand in it.
fn fault_of(error: &RedisError) -> StoreFault {
    if error.is_timeout() {
        return StoreFault::Timeout;
    }
    let code = error.code().unwrap_or_default();
    // Before version 7 the code of what the script met stands in the text.
    let says = |word: &str| code == word || error.detail().is_some_and(|detail| detail.contains(word));
    match error.kind() {
        ErrorKind::Io => StoreFault::Connection,
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => StoreFault::Auth,
        ErrorKind::Server(ServerErrorKind::ReadOnly) => StoreFault::ReadOnly,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        )
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::EmptySentinelList => StoreFault::Unavailable,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreFault::Answer,
        _ if says("FOREIGN") || says("WRONGTYPE") => StoreFault::Foreign,
        _ if says("OOM") => StoreFault::OutOfMemory,
        _ if says("READONLY") => StoreFault::ReadOnly,
        _ if says("NOAUTH") || says("WRONGPASS") || says("NOPERM") => StoreFault::Auth,
        _ => StoreFault::Server,
    }
}
