package binancetest

import "encoding/binary"

// sbeFaults are messages that break the rules of the encoding, or that a reader has to pass over.
type sbeFaults struct {
	unknown, truncate int // messages
}

// frames are what goes out in place of a message.
func (f *sbeFaults) frames(message []byte) [][]byte {
	var all [][]byte
	if f.unknown > 0 {
		f.unknown--
		other := append([]byte(nil), message...)
		binary.LittleEndian.PutUint16(other[2:], sbeUnheardOf)
		all = append(all, other)
	}
	if f.truncate > 0 {
		f.truncate--
		message = message[:len(message)*2/3]
	}
	return append(all, message)
}

// LengthenSBE writes SBE messages as a newer version of the schema would, with fields at the ends of blocks and of
// entries that version 0 does not know, until it is switched off.
func (s *Server) LengthenSBE(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode.sbe.longer = on
}

// VarySBEExponents gives each SBE message the largest exponents that its numbers allow, so that they differ from
// message to message, until it is switched off. Otherwise they are -8.
func (s *Server) VarySBEExponents(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode.sbe.vary = on
}

// UnknownSBE sends a message of a template that nobody knows ahead of each of the next n SBE messages.
func (s *Server) UnknownSBE(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.sbe.unknown = n
}

// TruncateSBE cuts off the end of the next n SBE messages.
func (s *Server) TruncateSBE(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire.sbe.truncate = n
}
