// Ids for new rows.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/**
 * 20 characters of `0-9 A-Z a-z _`, of which the first eight are the time in milliseconds: ids sort by when they were made, as far
 * as clocks agree. The other twelve are 70 random bits.
 */
export function newId(): string {
  let id = "";
  for (let time = Date.now(), i = 0; i < 8; i++, time = Math.floor(time / DIGITS.length)) id = DIGITS[time % DIGITS.length] + id;
  // 63 digits: a byte above 251 would make the first ones more likely, so such bytes are passed over.
  while (id.length < 20) for (const byte of crypto.getRandomValues(new Uint8Array(16))) if (byte < 252 && id.length < 20) id += DIGITS[byte % DIGITS.length];
  return id;
}
