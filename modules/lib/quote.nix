# Text where others give characters a meaning.
{
  # Between double quotes of a POSIX shell, as NixOS writes `environment.variables`.
  inDoubleQuotes = builtins.replaceStrings [ "\\" "\"" "$" "`" ] [ "\\\\" "\\\"" "\\$" "\\`" ];

  # In a unit, where `%` begins a specifier (systemd.unit(5)).
  inUnit = builtins.replaceStrings [ "%" ] [ "%%" ];
}
