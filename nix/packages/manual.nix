# docs/ as a book of web pages. Its contents are those of docs/README.md, the one list of pages.
{
  lib,
  runCommand,
  mdbook,
  sources,
}:
runCommand "microvm-dev-manual"
  {
    nativeBuildInputs = [ mdbook ];
    meta = {
      description = "Manual of microvm-dev";
      license = lib.licenses.mit;
    };
  }
  ''
    cp -r --no-preserve=mode ${sources.docs}/docs src
    sh ${./summary.sh} <src/README.md >src/SUMMARY.md
    cp ${./book.toml} book.toml
    mdbook build --dest-dir $out/share/doc/microvm-dev/html
  ''
