// What the alternatives share: which records a client at a version has to be told.

export const since = (records, version) => records.filter((record) => record.version > version);
