//! MySQL and MariaDB.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, approximate, sql};
use crate::project::Datum;
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "mysql",
    images: &["mysql", "mariadb", "percona"],
    process: "mysql",
    ports: &[Port {
        label: "main",
        default: 3306,
        setting: PortSetting::Number(&["settings", "mysqld", "port"]),
    }],
    program: "mariadbd",
    directories: &["/usr/sbin"],
    debian: Some("mariadb-server"),
    refuses_root: true,
    embedded: approximate("MariaDB, also where the project asks for Oracle's MySQL, which Debian has not"),
    nixos: approximate("users' passwords are set by a script"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let mut run = Run::default();
    let mut options = String::new();
    for (name, datum) in settings.entries(&["settings", "mysqld"]) {
        if let (false, Ok(value)) = (name == "port" || name == "bind-address", NixValue::try_from(datum)) {
            if let Some(text) = text(datum) {
                options.push_str(&format!(" {}", shell(&format!("--{name}={text}"))));
            }
            run.option_at(["services", "mysql", "settings", "mysqld", name], value);
        }
    }
    let statements = statements(settings);
    run.command = Command {
        prepare: "if [ ! -e \"$STATE_DIRECTORY/initialized\" ]; then\n  \
                    rm -rf \"$STATE_DIRECTORY/data\"\n  \
                    mariadb-install-db --no-defaults --datadir=\"$STATE_DIRECTORY/data\" \
                    --auth-root-authentication-method=normal\n  \
                    touch \"$STATE_DIRECTORY/initialized\"\n\
                  fi"
        .to_owned(),
        exec: format!(
            "exec mariadbd --no-defaults --datadir=\"$STATE_DIRECTORY/data\" --socket=\"$RUNTIME_DIRECTORY/mysql.sock\" \
             --port={port} --bind-address=0.0.0.0{options}"
        ),
        ready:
            "mariadb-admin --no-defaults --socket=\"$RUNTIME_DIRECTORY/mysql.sock\" --user=root ping --silent"
                .to_owned(),
        setup: match statements.is_empty() {
            true => String::new(),
            false => format!(
                "printf %s {} | mariadb --no-defaults --socket=\"$RUNTIME_DIRECTORY/mysql.sock\" --user=root\n",
                shell(&statements)
            ),
        },
        ..Command::default()
    };
    run.option("services.mysql.enable", true)
        .option("services.mysql.settings.mysqld.port", port)
        .option("services.mysql.settings.mysqld.bind-address", "0.0.0.0");
    run.option(
        "services.mysql.package",
        match settings.get(&["package"]) {
            Some(Datum::Package { package }) => package.into(),
            _ => NixValue::package("mariadb"),
        },
    );
    if !statements.is_empty() {
        let script = NixValue::File { name: "initial.sql".to_owned(), text: statements };
        run.option("services.mysql.initialScript", script);
    }
    run.variable("MYSQL_HOST", "127.0.0.1").variable("MYSQL_TCP_PORT", "{main}");
    run.remarks.extend(settings.remarks());
    run
}

fn statements(settings: &Settings<'_>) -> String {
    let mut all = String::new();
    let field = |datum: &Datum, name: &str| datum.at(&[name]).and_then(Datum::plain);
    for database in settings.list(&["initialDatabases"]) {
        let Some(name) = field(database, "name") else { continue };
        all.push_str(&format!("CREATE DATABASE IF NOT EXISTS {};\n", sql::backquoted(&name)));
        // A user beside the database is what compose files have.
        if let Some(user) = field(database, "user") {
            let user = format!("{}@'%'", sql::literal(&user));
            all.push_str(&format!(
                "CREATE USER IF NOT EXISTS {user}{};\n",
                password(field(database, "pass"))
            ));
            all.push_str(&format!("GRANT ALL ON {}.* TO {user};\n", sql::backquoted(&name)));
        }
        if let Some(schema) = field(database, "schema") {
            all.push_str(&format!("USE {};\nsource {schema}\n", sql::backquoted(&name)));
        }
    }
    for user in settings.list(&["ensureUsers"]) {
        let Some(name) = field(user, "name") else { continue };
        // Clients come by the VM's address, whatever host the project names.
        let account = format!("{}@'%'", sql::literal(&name));
        all.push_str(&format!("CREATE USER IF NOT EXISTS {account}{};\n", password(field(user, "password"))));
        if let Some(Datum::Set(permissions)) = user.at(&["ensurePermissions"]) {
            for (target, permission) in permissions {
                if let Some(permission) = permission.plain() {
                    all.push_str(&format!("GRANT {permission} ON {target} TO {account};\n"));
                }
            }
        }
    }
    all
}

fn password(password: Option<String>) -> String {
    let backslashes = |text: String| sql::literal(&text.replace('\\', "\\\\"));
    password.map(|text| format!(" IDENTIFIED BY {}", backslashes(text))).unwrap_or_default()
}

fn text(datum: &Datum) -> Option<String> {
    match datum {
        Datum::Bool(bool) => Some(if *bool { "ON" } else { "OFF" }.to_owned()),
        Datum::Int(number) => Some(number.to_string()),
        other => other.plain(),
    }
}
