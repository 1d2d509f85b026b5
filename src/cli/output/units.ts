/** A number with up to `digits` significant digits and without trailing zeros, as Go's `%.4g`. */
function significant(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}

const decimalUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'];
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB'];

function scaled(bytes: number, base: number, units: readonly string[], digits: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${significant(value, digits)}${units[unit]}`;
}

/** Bytes in powers of 1000: `2.063MB`. Docker shows images and containers with three digits, everything else with four. */
export function humanSize(bytes: number, digits: 3 | 4 = 4): string {
  return scaled(bytes, 1000, decimalUnits, digits);
}

/** Bytes in powers of 1024: `23.54GiB`. */
export function binarySize(bytes: number): string {
  return scaled(bytes, 1024, binaryUnits, 4);
}
