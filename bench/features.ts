/** What can be taken out of a gateway, one at a time; `all-on` is the whole, `all-off` what is left without any of them. */
export const featureNames = [
  'all-on',
  'no-shipping',
  'no-journal',
  'no-vault',
  'no-limits',
  'no-metrics',
  'no-log',
  'no-metering',
  'all-off',
] as const;
export type FeatureName = (typeof featureNames)[number];

export type Feature = 'shipping' | 'journal' | 'vault' | 'limits' | 'metrics' | 'log' | 'metering';

export function lacks(name: FeatureName, feature: Feature): boolean {
  return name === 'all-off' || name === `no-${feature}`;
}
