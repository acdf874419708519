"""Captions with something that points to a person, by kind, as captioners and people write them; all of it is made up.

What the scrubber of a client takes out of them is counted by `fgl audit prompts`.
"""

PLANTED: dict[str, list[tuple[str, str]]] = {
    "name with a title": [
        ("a portrait of Dr. Ada Lovelace in red", "Ada Lovelace"),
        ("a door sign that says Prof. Ines Okafor", "Ines Okafor"),
        ("Mrs. Tanaka in front of a shop", "Tanaka"),
        ("a letter to Mr Oduya on a desk", "Oduya"),
        ("Lady Agatha Brandt, smiling", "Agatha Brandt"),
        ("a badge of Miss Yvonne Petit", "Yvonne Petit"),
    ],
    "full name": [
        ("a photo of Ada Lovelace, smiling", "Ada Lovelace"),
        ("a man named Kwame Mensah in a suit", "Kwame Mensah"),
        ("a statue of Ludwig van Beethoven", "Ludwig van Beethoven"),
        ("a jersey with Rosa Delgado on it", "Rosa Delgado"),
        ("Ravi Shankar at a table with a cup", "Ravi Shankar"),
        ("a card signed by Jean-Luc Moreau", "Jean-Luc Moreau"),
        ("the grave of maria schmidt in a field", "maria schmidt"),
        ("a mug with the words HELLO ANNA KOWALSKI", "ANNA KOWALSKI"),
    ],
    "first name": [
        ("a birthday cake for Emma", "Emma"),
        ("a child called Yusuf with a ball", "Yusuf"),
        ("a bracelet that says Chloe", "Chloe"),
        ("a dog with the name Otto on its collar", "Otto"),
    ],
    "e-mail or handle": [
        ("a card with ada.lovelace@example.org on it", "ada.lovelace@example.org"),
        ("write to ada (at) example.org", "example.org"),
        ("follow @ada_l for more", "@ada_l"),
        ("a flyer: contact ines at example dot com", "ines at example dot com"),
    ],
    "web address": [
        ("a sign that says www.example.com/shop?id=3", "example.com/shop"),
        ("see https://example.org/~ada now", "example.org/~ada"),
        ("a van of example.co.uk on a street", "example.co.uk"),
    ],
    "telephone or account number": [
        ("call +44 (0)20 7946 0958 today", "7946"),
        ("a card 4929-1234-5678-9012", "4929"),
        ("a poster with 555-0134 on it", "555-0134"),
        ("an invoice of account DE89 3704 0044 0532 0130 00", "3704"),
        ("a wristband with patient 0048213", "0048213"),
    ],
    "plate or serial number": [
        ("a plate AB1234CD on a car", "AB1234CD"),
        ("a taxi with the plate B-KL 734", "B-KL 734"),
        ("a passport X4419027 on a table", "X4419027"),
    ],
    "date": [
        ("a stone, born 12.03.1951", "12.03.1951"),
        ("a letter of 4 May 1987", "1987"),
        ("a sign that says 07/11/2003", "07/11/2003"),
    ],
    "street address": [
        ("a house at 14 Rosewood Lane", "14 Rosewood Lane"),
        ("a parcel for Hauptstrasse 5", "Hauptstrasse 5"),
    ],
}
"""By kind: captions, each with what must go."""
