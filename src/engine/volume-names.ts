import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';

/** A volume's name is a directory's name too: no slashes, no leading dot. Throws `invalid-argument` in docker's words. */
export function checkVolumeName(name: string): string {
  if (name.length < 2) {
    throw new KeelsonError(
      'invalid-argument',
      'volume name is too short, names should be at least two alphanumeric characters',
    );
  }
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name) || name.length > 255) {
    throw new KeelsonError(
      'invalid-argument',
      `create ${printable(name)}: "${printable(name)}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  return name;
}
