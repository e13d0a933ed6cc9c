export const byId = (id) => document.getElementById(id);

export function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== String(text)) element.textContent = text;
}

// seconds writes milliseconds for people.
export function seconds(ms) {
  if (ms < 1000) return ms + " ms";
  if (ms < 120000) return (ms / 1000).toFixed(1) + " s";
  return Math.round(ms / 60000) + " min";
}

// plain writes a number with as many digits as tell it apart, without an exponent.
export function plain(x) {
  if (x === 0) return "0";
  const digits = Math.max(0, Math.min(8, 5 - Math.floor(Math.log10(Math.abs(x)))));
  return String(Number(x.toFixed(digits)));
}
