{
  # shop: made by mvm-devenv from /srv/shop. What it could not know is named at the end.
  services.microvm-dev.vms.shop = {
    projectDir = "/srv/shop";
    forwardPorts = [
      {
        guest = 80;
        host = 0;
      }
      {
        guest = 8123;
        host = 8123;
      }
      {
        guest = 9000;
        host = 9000;
      }
      {
        guest = 9200;
        host = 9200;
      }
      {
        guest = 9300;
        host = 9300;
      }
      {
        guest = 8086;
        host = 8086;
      }
      {
        guest = 9092;
        host = 9092;
      }
      {
        guest = 1025;
        host = 1025;
      }
      {
        guest = 8025;
        host = 8025;
      }
      {
        guest = 7700;
        host = 7700;
      }
      {
        guest = 11211;
        host = 11211;
      }
      {
        guest = 9001;
        host = 9001;
      }
      {
        guest = 27017;
        host = 27017;
      }
      {
        guest = 3306;
        host = 3306;
      }
      {
        guest = 4222;
        host = 4222;
      }
      {
        guest = 8222;
        host = 8222;
      }
      {
        guest = 8080;
        host = 8080;
      }
      {
        guest = 5432;
        host = 5432;
      }
      {
        guest = 5672;
        host = 5672;
      }
      {
        guest = 15672;
        host = 15672;
      }
      {
        guest = 6379;
        host = 6379;
      }
      {
        guest = 7233;
        host = 7233;
      }
      {
        guest = 8233;
        host = 8233;
      }
      {
        guest = 6081;
        host = 6081;
      }
      {
        guest = 8200;
        host = 8200;
      }
      {
        guest = 3000;
        host = 3000;
      }
    ];
    guestConfig =
      { pkgs, vmSpec, ... }:
      {
        environment.etc."clickhouse-server/config.d/microvm-dev.xml".text =
          "<clickhouse>\n<listen_host>0.0.0.0</listen_host>\n<tcp_port>9000</tcp_port>\n<http_port>8123</http_port>\n</clickhouse>\n";
        services.apache-kafka.clusterId = "bXZtLXNpbmdsZS1ub2Rlcw";
        services.apache-kafka.enable = true;
        services.apache-kafka.formatLogDirs = true;
        services.apache-kafka.settings."advertised.listeners" = [
          "PLAINTEXT://localhost:9092"
        ];
        services.apache-kafka.settings."controller.listener.names" = "CONTROLLER";
        services.apache-kafka.settings."controller.quorum.voters" = "1@localhost:9093";
        services.apache-kafka.settings."listener.security.protocol.map" =
          "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT";
        services.apache-kafka.settings.listeners = [
          "PLAINTEXT://0.0.0.0:9092"
          "CONTROLLER://localhost:9093"
        ];
        services.apache-kafka.settings."log.dirs" = [
          "/var/lib/apache-kafka"
        ];
        services.apache-kafka.settings."node.id" = "1";
        services.apache-kafka.settings."offsets.topic.replication.factor" = "1";
        services.apache-kafka.settings."process.roles" = "broker,controller";
        services.apache-kafka.settings."transaction.state.log.replication.factor" = "1";
        services.caddy.enable = true;
        services.clickhouse.enable = true;
        services.elasticsearch.enable = true;
        services.elasticsearch.listenAddress = "0.0.0.0";
        services.elasticsearch.port = 9200;
        services.elasticsearch.tcp_port = 9300;
        services.influxdb2.enable = true;
        services.influxdb2.settings.http-bind-address = "0.0.0.0:8086";
        services.meilisearch.enable = true;
        services.meilisearch.environment = "development";
        services.meilisearch.listenAddress = "0.0.0.0";
        services.meilisearch.listenPort = 7700;
        services.meilisearch.logLevel = "INFO";
        services.meilisearch.noAnalytics = true;
        services.memcached.enable = true;
        services.memcached.listen = "0.0.0.0";
        services.memcached.port = 11211;
        services.microvm-dev-guest.packages = [
          pkgs.jq
          pkgs.python3Packages.requests
        ];
        services.microvm-dev-guest.processes.migrations.exec = "make migrations";
        services.microvm-dev-guest.processes.web.after = [
          "migrations"
          "postgresql.service"
          "redis.service"
        ];
        services.microvm-dev-guest.processes.web.cwd = "/project/web";
        services.microvm-dev-guest.processes.web.exec =
          "${pkgs.nodejs}/bin/node server.js --greet \"\$GREETING\"";
        services.microvm-dev-guest.variables.DATABASE_URL = "postgres://ada:it%27s@127.0.0.1:5432/shop";
        services.microvm-dev-guest.variables.GREETING = "a 'b' \"c\" \$HOME 100%";
        services.microvm-dev-guest.variables.JQ = "${pkgs.jq}/bin/jq";
        services.microvm-dev-guest.variables.KAFKA_PORT = "9092";
        services.microvm-dev-guest.variables.MEILI_HTTP_ADDR = "127.0.0.1:7700";
        services.microvm-dev-guest.variables.MINIO_CONSOLE_PORT = "9001";
        services.microvm-dev-guest.variables.MINIO_PORT = "9000";
        services.microvm-dev-guest.variables.MYSQL_HOST = "127.0.0.1";
        services.microvm-dev-guest.variables.MYSQL_TCP_PORT = "3306";
        services.microvm-dev-guest.variables.NATS_PORT = "4222";
        services.microvm-dev-guest.variables.PGHOST = "127.0.0.1";
        services.microvm-dev-guest.variables.PGPORT = "5432";
        services.microvm-dev-guest.variables.RABBITMQ_HOST = "127.0.0.1";
        services.microvm-dev-guest.variables.RABBITMQ_PORT = "5672";
        services.microvm-dev-guest.variables.REDIS_URL = "redis://127.0.0.1:6379";
        services.microvm-dev-guest.variables.TEMPORAL_ADDRESS = "127.0.0.1:7233";
        services.microvm-dev-guest.variables.TEMPORAL_PORT = "7233";
        services.microvm-dev-guest.variables.TEMPORAL_UI_PORT = "8233";
        services.microvm-dev-guest.variables.VARNISH_PORT = "6081";
        services.microvm-dev-guest.variables.VAULT_ADDR = "http://127.0.0.1:8200";
        services.microvm-dev-guest.variables.VAULT_API_ADDR = "http://127.0.0.1:8200";
        services.microvm-dev-guest.variables.VAULT_TOKEN = "microvm-dev";
        services.minio.consoleAddress = "0.0.0.0:9001";
        services.minio.enable = true;
        services.minio.listenAddress = "0.0.0.0:9000";
        services.minio.region = "us-east-1";
        services.mongodb.bind_ip = "0.0.0.0";
        services.mongodb.enable = true;
        services.mysql.enable = true;
        services.mysql.initialScript = pkgs.writeText "initial.sql" "CREATE DATABASE IF NOT EXISTS `shop`;\n";
        services.mysql.package = pkgs.mariadb;
        services.mysql.settings.mysqld.bind-address = "0.0.0.0";
        services.mysql.settings.mysqld.port = 3306;
        services.nats.enable = true;
        services.nats.port = 4222;
        services.nats.settings.http_port = 8222;
        services.nginx.enable = true;
        services.opensearch.enable = true;
        services.opensearch.settings."http.port" = 9200;
        services.opensearch.settings."network.host" = "0.0.0.0";
        services.opensearch.settings."transport.port" = 9300;
        services.postgresql.authentication = "local all all trust\nhost all all samenet trust\n";
        services.postgresql.enable = true;
        services.postgresql.enableTCPIP = true;
        services.postgresql.ensureUsers = [
          {
            ensureClauses = {
              superuser = true;
            };
            name = vmSpec.user.name;
          }
        ];
        services.postgresql.initialScript = pkgs.writeText "initial.sql" "\\connect \"postgres\"\nCREATE ROLE \"ada\" LOGIN PASSWORD 'it''s';\n\\connect \"postgres\"\nCREATE DATABASE \"shop\" OWNER \"ada\";\n";
        services.postgresql.settings.port = 5432;
        services.rabbitmq.configItems.loopback_users = "none";
        services.rabbitmq.enable = true;
        services.rabbitmq.listenAddress = "0.0.0.0";
        services.rabbitmq.managementPlugin.enable = false;
        services.rabbitmq.managementPlugin.port = 15672;
        services.rabbitmq.port = 5672;
        services.redis.servers."".bind = null;
        services.redis.servers."".enable = true;
        services.redis.servers."".port = 6379;
        services.redis.servers."".settings.protected-mode = "no";
        services.varnish.config = "vcl 4.0;\nbackend default { .host = \"127.0.0.1\"; .port = \"80\"; }\n";
        services.varnish.enable = true;
        services.varnish.extraCommandLine = "-s malloc,64M";
        services.varnish.http_address = "0.0.0.0:6081";
        services.vault.address = "0.0.0.0:8200";
        services.vault.dev = true;
        services.vault.devRootTokenID = "microvm-dev";
        services.vault.enable = true;
        systemd.services.apache-kafka.serviceConfig.StateDirectory = "apache-kafka";
        systemd.services.mailpit.serviceConfig.DynamicUser = true;
        systemd.services.mailpit.serviceConfig.ExecStart =
          "${pkgs.lib.getExe pkgs.mailpit} --database %S/mailpit/mail.db --listen 0.0.0.0:8025 --smtp 0.0.0.0:1025";
        systemd.services.mailpit.serviceConfig.Restart = "on-failure";
        systemd.services.mailpit.serviceConfig.StateDirectory = "mailpit";
        systemd.services.mailpit.wantedBy = [
          "multi-user.target"
        ];
        systemd.services.minio.environment.MINIO_ROOT_PASSWORD = "minioadmin";
        systemd.services.minio.environment.MINIO_ROOT_USER = "minioadmin";
        systemd.services.temporal.serviceConfig.DynamicUser = true;
        systemd.services.temporal.serviceConfig.ExecStart =
          "${pkgs.lib.getExe pkgs.temporal-cli} server start-dev --ip 0.0.0.0 --port 7233 --ui-ip 0.0.0.0 --ui-port 8233 --db-filename %S/temporal/temporal.db";
        systemd.services.temporal.serviceConfig.Restart = "on-failure";
        systemd.services.temporal.serviceConfig.StateDirectory = "temporal";
        systemd.services.temporal.wantedBy = [
          "multi-user.target"
        ];
      };
  };
  # note (devenv.nix:22:5): mailpit-smtp and mailhog-smtp both want port 1025 of the VM: one of them will not start
  # note (devenv.nix:22:5): mailpit-ui and mailhog-ui both want port 8025 of the VM: one of them will not start
  # note (devenv.nix:25:5): minio-api and clickhouse-main both want port 9000 of the VM: one of them will not start
  # note (devenv.nix:33:5): opensearch-http and elasticsearch-http both want port 9200 of the VM: one of them will not start
  # note (devenv.nix:33:5): opensearch-transport and elasticsearch-transport both want port 9300 of the VM: one of them will not start
}
