// Package wal is a durable queue of payloads in a folder: appended at the end, read from the front, and still
// there after a crash.
//
// It exists beside libraries of logs and queues because of its durability: what is on disk after kill -9 and
// after a power cut is defined and tested, one flipped bit costs one payload, and every damage is
// reported in its place instead of ending the log.
//
// # Format
//
// A folder has segments, NUMBER.wal, whose numbers only grow. A segment is
//
//	magic "MPspill2" | number, 64 bits | end of the segment before, 64 bits | CRC-32C of these
//
// and then frames, each
//
//	length, 32 bits | CRC-32C of the payload | CRC-32C of these eight bytes | payload
//
// All numbers are little-endian. The last CRC starts from a value derived from the segment's number and
// the frame's offset, so a frame is valid only in its place. Since the header has a checksum of
// its own, a damaged payload costs one frame, and after a damaged header a search byte by byte finds the
// next frame. Since each segment states where the one before it ends, a missing end is noticed as well; that of the last
// segment is noticed up to what the position says.
//
// The file "position" says how far the queue was read, and where its end was. It is
// written at intervals, without a sync: if it is lost or old, some payloads are
// read again. The file "lock" is locked while a Queue is open. Files NUMBER-OFFSET.bad have the bytes of Damage, and
// NUMBER-OFFSET.refused payloads that the caller did not want, for inspection; together they are bounded.
//
// # After a crash
//
// A payload that Append accepted survives the death of the process always, and a power
// cut if it was synced. Bytes at the very end that make no valid frame are an interrupted Append.
// They were never accepted and are cut off, unless the position says that they were.
// Any other invalid or missing bytes are Damage: Read reports it in its place, and keeps the bytes.
package wal
