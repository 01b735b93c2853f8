# A project with every service that is known, and with processes, packages and variables of all kinds. What `mvm-devenv`
# prints of it stands beside (pkgs/mvm-project/tests/nixos compares), and tests/eval/devenv.nix evaluates that.
{ pkgs, ... }:
{
  packages = [
    pkgs.jq
    pkgs.python3Packages.requests
  ];

  env = {
    GREETING = "a 'b' \"c\" $HOME 100%";
    JQ = "${pkgs.jq}/bin/jq";
  };

  services = {
    caddy.enable = true;
    clickhouse.enable = true;
    elasticsearch.enable = true;
    influxdb.enable = true;
    kafka.enable = true;
    mailhog.enable = true;
    mailpit.enable = true;
    meilisearch.enable = true;
    memcached.enable = true;
    minio.enable = true;
    mongodb.enable = true;
    mysql = {
      enable = true;
      initialDatabases = [ { name = "shop"; } ];
    };
    nats.enable = true;
    nginx.enable = true;
    opensearch.enable = true;
    postgres = {
      enable = true;
      initialDatabases = [
        {
          name = "shop";
          user = "ada";
          pass = "it's";
        }
      ];
    };
    rabbitmq.enable = true;
    redis.enable = true;
    temporal.enable = true;
    varnish.enable = true;
    vault.enable = true;
  };

  processes = {
    migrations.exec = "make migrations";
    web = {
      exec = "${pkgs.nodejs}/bin/node server.js --greet \"$GREETING\"";
      cwd = "web";
      after = [
        "devenv:processes:migrations"
        "devenv:processes:postgres"
        "devenv:processes:redis"
      ];
      ports.http.allocate = 3000;
    };
  };
}
