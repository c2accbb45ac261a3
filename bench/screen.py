# SPDX-License-Identifier: BSD-2-Clause
"""A terminal as `top` paints on it: the characters that are shown, and which of them are reversed."""
import codecs
import re

from tools import Failure

# What TERM=xterm-256color makes ncurses say: control sequences, other escapes, what moves, and text.
PIECE = re.compile(r"\x1b\[([?>]?)([\d;]*)([@-~])|\x1b[()](.)|\x1b([=>78MDE])|([\r\n\b\t\a])|([^\x00-\x1f\x7f]+)")
UNFINISHED = re.compile(r"\x1b(\[[?>]?[\d;]*|[()])?$")


class Screen:
    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.rest = ""
        self.clear()

    def clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.reversed = [[False] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0
        self.top, self.bottom = 0, self.rows - 1  # of what scrolls
        self.reverse, self.last = False, " "

    def text(self, row):
        return "".join(self.cells[row]).rstrip()

    def feed(self, data):
        text, at = self.rest + self.decoder.decode(data), 0
        while at < len(text):
            found = PIECE.match(text, at)
            if not found:
                if UNFINISHED.match(text, at):
                    break
                raise Failure(f"top paints what this bench does not know: {text[at:at + 20]!r}")
            at = found.end()
            private, numbers, final, _, escape, control, words = found.groups()
            if words:
                self.put(words)
            elif control or escape:
                self.move_by(control or escape)
            elif final and not private:
                self.obey(final, [int(number or 0) for number in numbers.split(";")])
        self.rest = text[at:]

    def put(self, words):
        for letter in words:
            if self.column == self.columns:  # the last column was written, and the cursor waits behind it
                self.row, self.column = min(self.row + 1, self.rows - 1), 0
            self.cells[self.row][self.column] = self.last = letter
            self.reversed[self.row][self.column] = self.reverse
            self.column += 1

    def move_by(self, what):
        if what in "\rE":
            self.column = 0
        elif what == "\b":
            self.column = max(self.column - 1, 0)
        elif what == "\t":
            self.column = min(self.column // 8 * 8 + 8, self.columns - 1)
        if what in "\nDE":
            if self.row == self.bottom:
                self.scroll(1)
            self.row = min(self.row + (self.row != self.bottom), self.rows - 1)
        elif what == "M":
            if self.row == self.top:
                self.scroll(-1)
            self.row = max(self.row - (self.row != self.top), 0)

    def scroll(self, count):
        """Up, or down where it is less than nothing."""
        for lines, blank in ((self.cells, " "), (self.reversed, False)):
            part = lines[self.top:self.bottom + 1]
            new = [[blank] * self.columns for _ in range(min(abs(count), len(part)))]
            lines[self.top:self.bottom + 1] = part[count:] + new if count > 0 else new + part[:count]

    def erase(self, row, start, end):
        for column in range(start, min(end, self.columns)):
            self.cells[row][column], self.reversed[row][column] = " ", False

    def shift(self, row, start, out, into):
        """Of a row from there on: so many characters go out at its beginning, so many blanks come in."""
        for line, blank in ((self.cells[row], " "), (self.reversed[row], False)):
            kept = [blank] * into + line[start + out:]
            line[start:] = (kept + [blank] * self.columns)[:self.columns - start]

    def obey(self, final, numbers):
        first, count = numbers[0], max(numbers[0], 1)
        row, column = self.row, min(self.column, self.columns - 1)
        if final == "H":
            self.row, self.column = count - 1, max(numbers[1], 1) - 1 if len(numbers) > 1 else 0
        elif final == "G":
            self.column = count - 1
        elif final == "d":
            self.row = count - 1
        elif final in "AB":
            self.row = min(max(row + (count if final == "B" else -count), 0), self.rows - 1)
        elif final in "CD":
            self.column = min(max(column + (count if final == "C" else -count), 0), self.columns - 1)
        elif final == "K":
            self.erase(row, column if first == 0 else 0, column + 1 if first == 1 else self.columns)
        elif final == "J":
            if first == 0:
                self.erase(row, column, self.columns)
            for other in range(row + 1 if first == 0 else 0, self.rows):
                self.erase(other, 0, self.columns)
        elif final == "X":
            self.erase(row, column, column + count)
        elif final == "b":
            self.put(self.last * count)
        elif final == "P":
            self.shift(row, column, count, 0)
        elif final == "@":
            self.shift(row, column, 0, count)
        elif final in "ST":
            self.scroll(count if final == "S" else -count)
        elif final == "r":
            self.top, self.bottom = count - 1, (numbers[1] if len(numbers) > 1 and numbers[1] else self.rows) - 1
            self.row = self.column = 0
        elif final == "m":
            self.look(numbers)
        elif final not in "thl":  # titles of windows, modes: nothing of it shows
            raise Failure(f"top paints what this bench does not know: ESC [ {numbers} {final}")

    def look(self, numbers):
        numbers = iter(numbers)
        for number in numbers:
            if number in (38, 48):  # a colour, by its number or by its three parts
                for _ in range(1 if next(numbers, 5) == 5 else 3):
                    next(numbers, None)
            elif number in (0, 27):
                self.reverse = False
            elif number == 7:
                self.reverse = True
