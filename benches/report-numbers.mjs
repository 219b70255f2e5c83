// How figures are written in the tables of a result.
export const number = (value) => (Number.isNaN(value) ? "" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
export const mean = (value) => (value === 0 ? "0" : value < 0.0005 ? "<0.001" : String(Number(value.toFixed(3))));
export const verdict = (met) => (met ? "met" : "missed");
