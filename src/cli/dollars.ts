/** Integer nano-dollars, in decimal text of any length, as dollars. */
export function dollars(nano: string | null): string | null {
  if (nano === null || !/^-?\d+$/.test(nano)) return null;
  const sign = nano.startsWith('-') ? '-' : '';
  const digits = nano.replace('-', '').padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0{1,7}$/, '');
  return `${sign}$${digits.slice(0, -9)}.${fraction}`;
}
