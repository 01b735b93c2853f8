//! PostgreSQL.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, approximate, sql};
use crate::project::Datum;
use crate::quote::shell;
use mvm_spec::workload::StopSignal;

pub static MAPPING: Mapping = Mapping {
    name: "postgres",
    images: &["postgres", "postgis", "timescaledb", "pgvector", "postgresql"],
    process: "postgres",
    ports: &[Port { label: "main", default: 5432, setting: PortSetting::Number(&["port"]) }],
    program: "postgres",
    directories: &["/usr/lib/postgresql/*/bin"],
    debian: Some("postgresql"),
    refuses_root: true,
    embedded: approximate("listens on TCP too; extensions and versions are those of the host"),
    nixos: approximate("listens on TCP too; every user may log in from the VM's network without password"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let mut run = Run::default();
    let init = settings.texts(&["initdbArgs"]);
    let init =
        if init.is_empty() { vec!["--locale=C".to_owned(), "--encoding=UTF8".to_owned()] } else { init };
    let init: Vec<String> = init.iter().map(|word| shell(word)).collect();
    let mut options = String::new();
    for (name, datum) in settings.entries(&["settings"]) {
        // Ours: without them nobody reaches the server.
        if !matches!(name, "port" | "listen_addresses" | "unix_socket_directories")
            && let Some(value) = value(datum)
        {
            options.push_str(&format!(" -c {}", shell(&format!("{name}={value}"))));
            run.option_at(["services", "postgresql", "settings", name], value);
        }
    }
    let statements = statements(settings);
    run.command = Command {
        prepare: format!(
            "data=$STATE_DIRECTORY/data\n\
             if [ ! -e \"$STATE_DIRECTORY/initialized\" ]; then\n  \
               rm -rf \"$data\"\n  \
               initdb --pgdata=\"$data\" --auth=trust {}\n  \
               echo 'host all all samenet trust' >>\"$data/pg_hba.conf\"\n  \
               touch \"$STATE_DIRECTORY/initialized\"\n\
             fi",
            init.join(" ")
        ),
        exec: format!(
            "exec postgres -D \"$STATE_DIRECTORY/data\" -c port={port} -c listen_addresses='*' -c \
             unix_socket_directories=\"$RUNTIME_DIRECTORY\"{options}"
        ),
        ready: format!("pg_isready --quiet --host=\"$RUNTIME_DIRECTORY\" --port={port} --dbname=template1"),
        setup: statements
            .iter()
            .map(|(database, text)| {
                format!(
                    "printf %s {} | psql --quiet --set=ON_ERROR_STOP=1 --host=\"$RUNTIME_DIRECTORY\" --port={port} \
                     --dbname={}\n",
                    shell(text),
                    shell(database)
                )
            })
            .collect(),
        // "Fast": at SIGTERM it waits until the last client has gone (PostgreSQL, "Shutting Down the Server").
        stop_signal: StopSignal::Int,
    };
    nixos(settings, port, &mut run);
    run.variable("PGHOST", "127.0.0.1").variable("PGPORT", "{main}");
    if let Some(path) = url_path(settings) {
        run.variable("DATABASE_URL", format!("postgres://{path}"));
    }
    if settings.get(&["extensions"]).is_some() {
        run.remarks
            .push("extensions: the embedded guest has those that are installed on the host".to_owned());
    }
    run.remarks.extend(settings.remarks());
    run
}

/// What devenv's first start does, each statement with its database.
fn statements(settings: &Settings<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let postgres = || "postgres".to_owned();
    let databases = settings.list(&["initialDatabases"]);
    let field = |database: &Datum, name: &str| database.at(&[name]).and_then(Datum::plain);
    for database in &databases {
        let Some(name) = field(database, "name") else { continue };
        let user = field(database, "user");
        if let Some(user) = &user {
            let password = field(database, "pass").map(|pass| format!(" PASSWORD {}", sql::literal(&pass)));
            let role = sql::identifier(user);
            all.push((postgres(), format!("CREATE ROLE {role} LOGIN{};", password.unwrap_or_default())));
        }
        let owner = user.as_ref().map(|user| format!(" OWNER {}", sql::identifier(user))).unwrap_or_default();
        all.push((postgres(), format!("CREATE DATABASE {}{owner};", sql::identifier(&name))));
        if let Some(text) = field(database, "initialSQL") {
            all.push((name.clone(), text));
        }
        if let Some(schema) = field(database, "schema") {
            all.push((name, format!("\\i {}", sql::literal(&schema))));
        }
    }
    if databases.is_empty() && settings.bool(&["createDatabase"]) != Some(false) {
        // psql puts the name of the user who runs it in.
        all.push((postgres(), "SELECT format('CREATE DATABASE %I', current_user) \\gexec".to_owned()));
    }
    all.extend(settings.text(&["initialScript"]).map(|script| (postgres(), script)));
    all
}

fn nixos(settings: &Settings<'_>, port: u16, run: &mut Run) {
    run.option("services.postgresql.enable", true)
        .option("services.postgresql.settings.port", port)
        .option("services.postgresql.enableTCPIP", true)
        // Who works in the VM is a superuser, as under devenv.
        .option(
            "services.postgresql.ensureUsers",
            NixValue::List(vec![NixValue::Set(
                [
                    ("name".to_owned(), NixValue::User),
                    (
                        "ensureClauses".to_owned(),
                        NixValue::Set([("superuser".to_owned(), true.into())].into()),
                    ),
                ]
                .into(),
            )]),
        )
        .option("services.postgresql.authentication", "local all all trust\nhost all all samenet trust\n");
    if let Some(Datum::Package { package }) = settings.get(&["package"]) {
        run.option("services.postgresql.package", package);
    }
    let statements = statements(settings);
    if !statements.is_empty() {
        let text = statements
            .iter()
            .map(|(database, text)| format!("\\connect {}\n{text}\n", sql::identifier(database)))
            .collect();
        let script = NixValue::File { name: "initial.sql".to_owned(), text };
        run.option("services.postgresql.initialScript", script);
    }
}

/// `USER:PASSWORD@127.0.0.1:{main}/DATABASE` of the only database, if it has a user; without one it depends on who asks.
fn url_path(settings: &Settings<'_>) -> Option<String> {
    let databases = settings.list(&["initialDatabases"]);
    let [database] = databases.as_slice() else { return None };
    let field = |name: &str| database.at(&[name]).and_then(Datum::plain);
    let user = sql::url_part(&field("user")?);
    let password = field("pass").map(|text| format!(":{}", sql::url_part(&text))).unwrap_or_default();
    Some(format!("{user}{password}@127.0.0.1:{{main}}/{}", sql::url_part(&field("name")?)))
}

fn value(datum: &Datum) -> Option<String> {
    Some(match datum {
        Datum::Bool(bool) => if *bool { "on" } else { "off" }.to_owned(),
        Datum::Int(number) => number.to_string(),
        Datum::Float(number) => number.to_string(),
        other => other.plain()?,
    })
}
