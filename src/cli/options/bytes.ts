const multipliers: Readonly<Record<string, number>> = {
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  p: 2 ** 50,
};

/** A size with docker's binary units: `64m`, `1.5g`, `1024`, `10 MiB`. Throws in docker's words. */
export function parseBytes(text: string): number {
  const match = /^(.*[0-9.]) ?([^0-9. ]*)$/s.exec(text);
  if (match === null) throw new Error(`invalid size: '${text}'`);
  const [, digits = '', suffix = ''] = match;
  if (!/^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$/.test(digits)) throw new Error(`invalid size: '${text}'`);
  const size = Number(digits);
  if (size < 0) throw new Error(`invalid size: '${text}'`);
  if (suffix === '') return Math.trunc(size);
  const unit = /^(?:b|([kmgtp])(?:i?b)?)$/.exec(suffix.toLowerCase());
  if (unit === null) throw new Error(`invalid suffix: '${suffix}'`);
  return Math.trunc(size * (multipliers[unit[1] ?? 'b'] as number));
}

/** The same, and -1 for no limit. */
export function parseBytesOrUnlimited(text: string): number {
  return text === '-1' ? -1 : parseBytes(text);
}

/** CPUs as a decimal or a fraction: thousand-millionths of a CPU. */
export function parseCpus(text: string): number {
  const match = /^([+-]?)(?:([0-9]+)\/([0-9]+)|([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?)$/.exec(text);
  const [, sign, numerator, denominator, whole = '', fraction = '', exponent = '0'] = match ?? [];
  if (
    match === null ||
    (numerator === undefined && whole + fraction === '') ||
    denominator === '0' ||
    Math.abs(Number(exponent)) > 30
  )
    throw new Error(`failed to parse ${text} as a rational number`);
  let value: bigint;
  let remainder: bigint;
  if (numerator !== undefined) {
    const scaled = BigInt(numerator) * 1_000_000_000n;
    value = scaled / BigInt(denominator as string);
    remainder = scaled % BigInt(denominator as string);
  } else {
    const shift = 9 + Number(exponent) - fraction.length;
    const digits = BigInt(whole + fraction);
    value = shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift);
    remainder = shift >= 0 ? 0n : digits % 10n ** BigInt(-shift);
  }
  if (remainder !== 0n) throw new Error('value is too precise');
  return Number(sign === '-' ? -value : value);
}
