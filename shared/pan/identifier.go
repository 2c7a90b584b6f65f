package pan

// minHexIdentifier is the length from which a word of hexadecimal digits, with
// letters among them, is a hash or an object id: the decimal runs in it are
// chance.
const minHexIdentifier = 20

// identifierEnd returns where the UUID or hexadecimal identifier that starts at
// i ends, or i when none starts there.
func identifierEnd(s string, i int) int {
	if i > 0 && isWord(s[i-1]) || !isHex(s[i]) {
		return i
	}
	if end := i + len("00000000-0000-0000-0000-000000000000"); isUUID(s, i, end) {
		return end
	}
	end, letters := i, false
	for end < len(s) && isHex(s[end]) {
		letters = letters || !isDecimal(s[end])
		end++
	}
	if end < len(s) && isWord(s[end]) || end-i < minHexIdentifier || !letters {
		return i
	}
	return end
}

func isUUID(s string, start, end int) bool {
	if end > len(s) || end < len(s) && isWord(s[end]) {
		return false
	}
	for i, c := range []byte(s[start:end]) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isHex(c) {
				return false
			}
		}
	}
	return true
}

func isDecimal(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDecimal(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isWord(c byte) bool {
	return isDecimal(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
