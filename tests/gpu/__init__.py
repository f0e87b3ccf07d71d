"""Everything that only a GPU can show, in one script that ends within four minutes on one card and needs no network.

    python -m tests.gpu [SECTION ...] [--seconds 230] [--json FILE] [--data FOLDER] [--tiny]

Each section runs in a process of its own, forked from one that has imported everything and has not touched the card:
what breaks there, a sticky error of CUDA's included, is a row of the table. A section stops where its budget, or the
script's, is used up. On a CPU all of it runs at tiny sizes, which tests the script and says nothing about speed.
"""
