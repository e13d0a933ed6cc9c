// Package wal is a queue of payloads in a folder: appended at the end, read from the front, and there
// again after a crash.
//
// # Format
//
// A folder holds segments, NUMBER.wal, whose numbers only grow. A segment is
//
//	magic "MPspill1" | number, 64 bits | CRC-32C of both
//
// and then frames, each
//
//	length, 32 bits | CRC-32C of the payload | CRC-32C of these eight bytes | payload
//
// All numbers are little-endian. The last CRC starts from a value made of the segment's number and
// the frame's offset, so that a frame is valid nowhere but in its place. Since the header has a checksum of
// its own, a damaged payload costs one frame, and after a damaged header the next frame can be found
// by looking at every byte.
//
// The file "position" says what was read, and how far the frames are known to be on disk. It is
// written now and then, and without waiting for the disk: if it is lost or old, some payloads are
// read again. The file "lock" is locked while a Queue is open.
//
// # After a crash
//
// What Append reported as accepted is there: after the death of the process always, and after a power
// cut where it was synced. Bytes at the very end that make no valid frame are what a crash cuts short.
// They were never accepted and are cut off, unless the position says that they had been on disk.
// Anything else that is not valid is Damage: Read reports it in its place, and a copy of the segment is
// kept as NUMBER.wal.bad.
package wal
