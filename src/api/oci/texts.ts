import { release } from './version.ts';

export const specVersion = '1.3.0';

export function versionText(): string {
  return `keelson-oci version ${release}\nspec: ${specVersion}\n`;
}

export function usageText(commands: readonly string[]): string {
  return `usage: keelson-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup] COMMAND [FLAGS] [ARGUMENTS]\n\ncommands: ${commands.join(' ')}\n`;
}
